"""Threads of exports stand still while somebody waits for a cancel, and never for long."""

from __future__ import annotations

import pytest
import trio

from exportd.jobs import pace
from exportd.jobs.pace import Pace

EVER = 10_000.0


async def stands_still(pace: Pace) -> bool:
    """Whether a look takes until its export is cancelled."""
    with trio.move_on_after(0.02) as export:
        await trio.to_thread.run_sync(pace.look)
    return export.cancelled_caught


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> Pace:
    monkeypatch.setattr(pace, "STANDSTILL", EVER)
    monkeypatch.setattr(pace, "INTERVAL", 0.0)
    return Pace()


async def test_threads_stand_still_while_somebody_is_in_a_hurry_and_their_own_cancel_reaches_them(paced: Pace) -> None:
    assert not await stands_still(paced)
    with paced.hurry():
        assert await stands_still(paced)
    assert not await stands_still(paced)


async def test_the_last_of_several_lets_them_go(paced: Pace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "INTERVAL", EVER)
    with paced.hurry():
        with paced.hurry():
            assert await stands_still(paced)
        assert await stands_still(paced)
    assert not await stands_still(paced)


async def test_they_are_let_go_when_the_answer_is_given_up(paced: Pace) -> None:
    with trio.CancelScope() as answer, paced.hurry():
        answer.cancel()
        await trio.lowlevel.checkpoint()
    assert not await stands_still(paced)


async def test_an_answer_that_takes_long_does_not_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STANDSTILL", 0.0)
    slow = Pace()
    with slow.hurry():
        assert not await stands_still(slow)


async def test_a_stream_of_cancels_does_not_stop_exports(paced: Pace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "INTERVAL", EVER)
    with paced.hurry():
        assert await stands_still(paced)
    with paced.hurry():
        assert not await stands_still(paced)


async def test_who_does_not_take_their_answer_keeps_nobody_else_from_going_first(paced: Pace) -> None:
    with paced.hurry():  # of a client that does not read, and the next standstill may begin already
        with paced.hurry():
            assert await stands_still(paced)
        assert not await stands_still(paced)
