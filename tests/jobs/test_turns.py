"""Turns: so many in a round of the event loop, each in the end, whoever is cancelled meanwhile."""

from __future__ import annotations

from collections import Counter

import trio
import trio.testing
from rounds import Rounds, counting
from trio.lowlevel import ParkingLot

from exportd.jobs.turns import Turns

AT_ONCE, MANY = 3, 20


class Waiting:
    """Many that sleep until they are called, and then each do something in their turn."""

    def __init__(self, turns: Turns, rounds: Rounds) -> None:
        self._turns, self._rounds = turns, rounds
        self.lots = [ParkingLot() for _ in range(MANY)]
        self.done: Counter[int] = Counter()
        self.order: list[int] = []

    async def sleep(self, number: int) -> None:
        await self._turns.sleep(self.lots[number])
        self._do(number)

    async def wait(self, number: int) -> None:
        await self._turns.wait()
        self._do(number)

    def _do(self, number: int) -> None:
        self.done[self._rounds.now] += 1
        self.order.append(number)


async def test_so_many_in_a_round_in_the_order_of_their_calls() -> None:
    with counting() as rounds:
        turns = Turns(AT_ONCE)
        many = Waiting(turns, rounds)
        async with trio.open_nursery() as nursery:
            for number in range(MANY):
                nursery.start_soon(many.sleep, number)
            await trio.testing.wait_all_tasks_blocked()
            assert many.order == []
            for lot in many.lots:
                turns.call(lot)
        assert max(many.done.values()) == AT_ONCE
        assert len(many.done) == -(-MANY // AT_ONCE), "no round goes by in which nobody has a turn"
        first = many.order[: -(-MANY // AT_ONCE) * AT_ONCE]
        assert all(abs(place - number) < AT_ONCE for place, number in enumerate(first)), "trio shuffles a round"


async def test_who_comes_for_more_queues_with_those_that_were_called() -> None:
    with counting() as rounds:
        turns = Turns(AT_ONCE)
        many = Waiting(turns, rounds)
        async with trio.open_nursery() as nursery:
            for number in range(0, MANY, 2):
                nursery.start_soon(many.sleep, number)
            await trio.testing.wait_all_tasks_blocked()
            for lot in many.lots:
                turns.call(lot)
            for number in range(1, MANY, 2):
                nursery.start_soon(many.wait, number)
        assert sorted(many.order) == list(range(MANY))
        assert max(many.done.values()) == AT_ONCE


async def test_a_cancel_takes_no_turn_from_the_others() -> None:
    turns, lots = Turns(1), [ParkingLot() for _ in range(4)]
    for called in (False, True):
        for waiting in (turns.wait, lambda: turns.sleep(lots[0])):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waiting)
                await trio.testing.wait_all_tasks_blocked()
                if called:
                    for lot in lots:
                        turns.call(lot)
                nursery.cancel_scope.cancel()
    with trio.CancelScope() as scope:
        scope.cancel()
        await turns.wait()
    with trio.fail_after(5):
        for _ in range(3):
            await turns.wait()


async def test_who_is_woken_for_something_else_had_no_turn() -> None:
    turns, lot = Turns(1), ParkingLot()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.sleep, lot)
        await trio.testing.wait_all_tasks_blocked()
        lot.unpark_all()
    assert turns._free == 1
