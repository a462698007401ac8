"""Many readers: none keeps the event loop to itself, and what is taken back is told by none of them."""

from __future__ import annotations

import uuid
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime

import trio
import trio.testing

from exportd.core import events
from exportd.core.job import Job
from exportd.core.options import ExportOptions
from exportd.core.registry import Registry
from exportd.core.users import User
from exportd.jobs.hub import TOLD_AT_ONCE, Feed, Hub

USER = User("u1", "a@example.org")
READERS = 10 * TOLD_AT_ONCE


class Rounds(trio.abc.Instrument):
    """Counts the rounds of the event loop."""

    def __init__(self) -> None:
        self.now = 0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self.now += 1


def new_job() -> Job:
    options = ExportOptions(include_documentation=True)
    return Job(str(uuid.uuid4()), str(uuid.uuid4()), "P", USER, options, datetime.now(UTC))


async def test_so_many_are_told_something_in_a_round_and_all_in_the_end() -> None:
    hub, rounds = Hub(Registry(max_active_per_user=1, max_active=1)), Rounds()
    told: Counter[int] = Counter()

    async def read(feed: Feed) -> None:
        while True:
            await feed.receive()
            told[rounds.now] += 1
            await trio.lowlevel.checkpoint()

    job = new_job()
    with ExitStack() as stack:
        first, *feeds = [stack.enter_context(hub.watch(USER)) for _ in range(1 + READERS)]
        trio.lowlevel.add_instrument(rounds)
        async with trio.open_nursery() as nursery:
            for feed in feeds:
                nursery.start_soon(read, feed)
            await trio.testing.wait_all_tasks_blocked()
            for event in (events.STARTED, events.PHASE_CHANGED):
                hub.publish(events.Message(event, {}), job)
            await trio.testing.wait_all_tasks_blocked()
            assert told.total() == 2 * READERS
            assert max(told.values()) <= TOLD_AT_ONCE
            assert len(first._outbox) == 2, "who does not read holds up nobody"
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(rounds)


async def test_what_waits_for_its_turn_when_a_cancel_is_decided_is_not_told() -> None:
    hub, job = Hub(Registry(max_active_per_user=1, max_active=1)), new_job()
    told: list[str] = []

    async def read(feed: Feed) -> None:
        while True:
            told.append((await feed.receive()).event)

    with hub.watch(USER) as feed:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, feed)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(TOLD_AT_ONCE):
                hub._turns.acquire_nowait()
            hub.publish(events.Message(events.PROGRESS, {}), job)
            await trio.testing.wait_all_tasks_blocked()
            hub.shut(job)
            for _ in range(TOLD_AT_ONCE):
                hub._turns.release()
            hub.publish(events.Message(events.CANCELLED, {}), job)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert told == [events.CANCELLED]
