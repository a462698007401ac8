"""Many readers: none keeps the event loop to itself, and what is taken back is told by none of them."""

from __future__ import annotations

import uuid
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
import trio
import trio.testing
from conftest import World
from rounds import counting

from exportd.core import events
from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.core.registry import Registry
from exportd.core.users import User
from exportd.jobs.hub import TELLING, TOLD_AT_ONCE, Feed, Hub

USER = User("u1", "a@example.org")
OPTIONS = ExportOptions(include_documentation=True)
READERS = 10 * TOLD_AT_ONCE


def new_job() -> Job:
    return Job(str(uuid.uuid4()), str(uuid.uuid4()), "P", USER, OPTIONS, datetime.now(UTC))


async def test_so_many_are_told_something_in_a_round_and_all_in_the_end() -> None:
    hub = Hub(Registry(max_active_per_user=1, max_active=1))
    told: Counter[int] = Counter()

    async def read(feed: Feed) -> None:
        while True:
            await feed.receive()
            told[rounds.now] += 1
            await trio.lowlevel.checkpoint()

    job = new_job()
    with ExitStack() as stack:
        rounds = stack.enter_context(counting())
        first, *feeds = [stack.enter_context(hub.watch(USER)) for _ in range(1 + READERS)]
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


async def test_what_waits_for_its_turn_when_a_cancel_is_decided_is_not_told() -> None:
    hub, job = Hub(Registry(max_active_per_user=1, max_active=1)), new_job()
    told: Counter[str] = Counter()

    async def read(feed: Feed) -> None:
        while True:
            event = (await feed.receive()).event
            told[event] += 1
            if event == events.PROGRESS:  # the first that is told decides it; the others are in this round or queue
                hub.shut(job)
                hub.publish(events.Message(events.CANCELLED, {}), job)

    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            for _ in range(READERS):
                nursery.start_soon(read, stack.enter_context(hub.watch(USER)))
            await trio.testing.wait_all_tasks_blocked()
            hub.publish(events.Message(events.PROGRESS, {}), job)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert told == {events.PROGRESS: 1, events.CANCELLED: READERS}


async def test_who_is_told_all_is_who_has_come_back_for_more() -> None:
    hub, job, seen = Hub(Registry(max_active_per_user=1, max_active=1)), new_job(), list[str]()
    sending = trio.Event()

    async def read(feed: Feed) -> None:
        while True:
            seen.append((await feed.receive()).event)
            await sending.wait()

    async def ask(feed: Feed) -> None:
        await feed.wait_told()
        seen.append("all")

    with hub.watch(USER) as feed:
        await ask(feed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, feed)
            hub.publish(events.Message(events.STARTED, {}), job)
            nursery.start_soon(ask, feed)
            await trio.testing.wait_all_tasks_blocked()
            hub.publish(events.Message(events.PHASE_CHANGED, {}), job)
            sending.set()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert seen == ["all", events.STARTED, events.PHASE_CHANGED, "all"]


async def test_whoever_waits_until_readers_are_told_waits_for_all_that_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub, job = Hub(Registry(max_active_per_user=1, max_active=1)), new_job()
    told: list[str] = []

    async def read(feed: Feed) -> None:
        while True:
            told.append((await feed.receive()).event)
            await trio.lowlevel.checkpoint()

    with ExitStack() as stack:
        feeds = [stack.enter_context(hub.watch(USER)) for _ in range(READERS)]
        async with trio.open_nursery() as nursery:
            for feed in feeds:
                nursery.start_soon(read, feed)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            hub.publish(events.Message(events.CANCELLED, {}), job)
            await hub.wait_told(USER.id)
            assert told == [events.CANCELLED] * READERS
            assert trio.current_time() == began
            with hub.watch(USER):  # and nobody reads it
                hub.publish(events.Message(events.STARTED, {}), new_job())
                await hub.wait_told(USER.id)
            assert trio.current_time() == pytest.approx(began + TELLING)
            nursery.cancel_scope.cancel()


async def test_a_reader_that_leaves_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    hub, job = Hub(Registry(max_active_per_user=1, max_active=1)), new_job()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        with hub.watch(USER):
            hub.publish(events.Message(events.STARTED, {}), job)
            nursery.start_soon(hub.wait_told, USER.id)
            await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - began < TELLING


async def test_a_cancel_is_answered_when_those_who_watch_have_been_told(slow_world: World) -> None:
    told: Counter[str] = Counter()

    async def read(feed: Feed) -> None:
        while True:
            told[(await feed.receive()).event] += 1
            await trio.lowlevel.checkpoint()

    async with slow_world.service() as service:
        with ExitStack() as stack:
            feeds = [stack.enter_context(service.watch(slow_world.alice)) for _ in range(READERS)]
            async with trio.open_nursery() as nursery:
                for feed in feeds:
                    nursery.start_soon(read, feed)
                job = await service.start(slow_world.alice, slow_world.project_id, StartRequest(options=OPTIONS))
                await service.cancel(slow_world.alice, slow_world.project_id, job.id)
                assert told[events.CANCELLED] == READERS
                nursery.cancel_scope.cancel()
