"""Sessions and streams over the real hub; only the line to the client is made up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest
import trio
import trio.testing
from werkzeug.datastructures import MultiDict

from exportd.core import events
from exportd.core.job import Job, Progress
from exportd.core.options import ExportOptions
from exportd.core.registry import Registry
from exportd.core.users import User
from exportd.errors import InvalidRequest
from exportd.jobs.hub import Feed, Hub
from exportd.web.feed import (
    BAD_DATA,
    MAX_MESSAGE,
    PONG,
    RESTART,
    TOO_BIG,
    TRY_LATER,
    Command,
    EventStream,
    Only,
    Refused,
    Session,
    parse,
    parse_event_id,
    parse_only,
)
from exportd.web.websocket import Socket

USER = User("u1", "a@example.org")
AT = datetime(2026, 1, 31, tzinfo=UTC)
PROJECT, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


class Line:
    """What a session knows of its client: messages that come, messages that leave, the close."""

    def __init__(self) -> None:
        self._to_server, self._from_client = trio.open_memory_channel[str | bytes](100)
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.flowing = trio.Event()
        self.flowing.set()

    def say(self, message: str | bytes | dict[str, object]) -> None:
        self._to_server.send_nowait(orjson.dumps(message) if isinstance(message, dict) else message)

    async def receive(self) -> str | bytes:
        return await self._from_client.receive()

    async def send(self, text: str) -> None:
        await self.flowing.wait()
        self.sent.append(orjson.loads(text))

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


def new_hub() -> Hub:
    return Hub(Registry(max_active_per_user=10_000, max_active=10_000))


def new_job(project: str = PROJECT) -> Job:
    options = ExportOptions(include_documentation=True)
    return Job(str(uuid.uuid4()), project, "P", USER, options, AT, started_at=AT, progress=Progress(0, "processing"))


def tell(hub: Hub, job: Job, progress: int = 0) -> None:
    """`started` and so much progress."""
    hub.publish(events.started(job), job)
    for _ in range(progress):
        hub.publish(events.progress(job, AT), job)


@contextmanager
def session(hub: Hub) -> Iterator[tuple[Line, Session]]:
    line = Line()
    with hub.watch(USER) as feed:
        yield line, Session(cast("Socket", line), feed)


@pytest.mark.parametrize("round_", range(20))
async def test_pong_comes_after_the_replay(round_: int) -> None:
    """Many rounds: trio runs tasks that are due in an order of chance."""
    hub, job = new_hub(), new_job()
    tell(hub, job, progress=50)
    with session(hub) as (line, made):
        async with trio.open_nursery() as nursery:
            line.say({"action": "subscribe", "jobId": job.id, "since": 0})
            line.say({"action": "ping"})
            nursery.start_soon(made.run)
            await trio.testing.wait_all_tasks_blocked()
            assert [m.get("seq", m["event"]) for m in line.sent] == [*range(1, 52), "pong"]
            hub.end()
    assert line.closed is not None
    assert line.closed[0] == RESTART


async def test_pong_waits_for_a_slow_replay() -> None:
    hub, job = new_hub(), new_job()
    tell(hub, job, progress=3)
    with session(hub) as (line, made):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            line.flowing = trio.Event()
            line.say({"action": "subscribe", "jobId": job.id, "since": 0})
            await trio.testing.wait_all_tasks_blocked()
            line.say({"action": "ping"})
            line.say({"action": "ping"})
            await trio.testing.wait_all_tasks_blocked()
            assert line.sent == []
            line.flowing.set()
            await trio.testing.wait_all_tasks_blocked()
            assert [m["event"] for m in line.sent][4:] == ["pong", "pong"]
            hub.end()


async def test_ids_are_read_in_either_case() -> None:
    hub, job = new_hub(), new_job()
    tell(hub, job)
    with session(hub) as (line, made):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            line.say({"action": "subscribe", "jobId": job.id.upper(), "since": 0})
            await trio.testing.wait_all_tasks_blocked()
            assert [m["data"]["jobId"] for m in line.sent] == [job.id]
            hub.end()


async def test_who_cannot_take_the_events_is_closed_with_1013() -> None:
    hub = new_hub()
    with session(hub) as (line, made):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            line.flowing = trio.Event()
            for _ in range(events.MAX_OUTBOX + 10):
                tell(hub, new_job())
                await trio.lowlevel.checkpoint()
            line.flowing.set()
    assert line.closed is not None
    assert line.closed[0] == TRY_LATER


@pytest.mark.parametrize(
    ("message", "code"),
    [("", BAD_DATA), ("{nope", BAD_DATA), ("7", BAD_DATA), ("[]", BAD_DATA), ("{}", BAD_DATA),
     ('{"action": ["ping"]}', BAD_DATA), ('{"action": "subscribe", "jobId": "x"}', BAD_DATA),
     ('{"action": "subscribe", "projectId": 1}', BAD_DATA), ('{"action": "subscribe", "since": -1}', BAD_DATA),
     ('{"action": "subscribe", "since": 1.0}', BAD_DATA), ('{"action": "subscribe", "since": true}', BAD_DATA),
     ("[" * 60_000, BAD_DATA), ("x" * (MAX_MESSAGE + 1), TOO_BIG), ("é" * (MAX_MESSAGE // 2 + 1), TOO_BIG),
     (b"\xff", BAD_DATA)],
)  # fmt: skip
async def test_broken_rules_close_the_session(message: str | bytes, code: int) -> None:
    with session(new_hub()) as (line, made):
        line.say(message)
        with trio.fail_after(5):
            await made.run()
    assert line.closed is not None
    assert line.closed[0] == code
    assert 0 < len(line.closed[1].encode()) <= 123, "the reason of a close has to fit into a control frame"


def test_a_message_of_exactly_64_kib_is_taken() -> None:
    text = '{"action": "ping", "pad": "' + "x" * MAX_MESSAGE
    assert parse(text[: MAX_MESSAGE - 2] + '"}') == Command("ping")
    with pytest.raises(Refused):
        parse(text[: MAX_MESSAGE - 1] + '"}')


async def test_a_subscription_to_nothing_in_particular_is_to_everything_again() -> None:
    hub, first, second = new_hub(), new_job(), new_job(OTHER)
    with hub.watch(USER) as feed, trio.fail_after(5):
        feed.subscribe(job_id=first.id, since=0)
        feed.subscribe()
        for job in (second, first):
            tell(hub, job)
        assert [(await feed.receive()).job_id for _ in range(2)] == [second.id, first.id]
        feed.unsubscribe()
        tell(hub, first)
        feed.subscribe()
        tell(hub, second)
        assert (await feed.receive()).job_id == second.id


# --- Server-Sent Events ----------------------------------------------------------------------------------------------


async def _told(feed: Feed, only: Only) -> list[str]:
    """Jobs of the events that a stream tells until there is none."""
    chunks: list[bytes] = []
    with trio.move_on_after(0.2):
        async for chunk in EventStream(feed, only):
            chunks.append(chunk)  # noqa: PERF401 - a comprehension would be lost with the cancel
    return [chunk[4:].partition(b":")[0].decode() for chunk in chunks if chunk.startswith(b"id: ")]


async def test_a_narrowed_stream_resumes_narrowed() -> None:
    hub, first, mine, foreign = new_hub(), new_job(), new_job(), new_job(OTHER)
    for job in (first, mine, foreign):
        tell(hub, job)
    for only, expected in (
        (Only(), [mine.id, foreign.id]),
        (Only(job_id=foreign.id), [foreign.id]),
        (Only(project_id=PROJECT), [mine.id]),
        (Only(job_id=str(uuid.UUID(int=3))), []),
    ):
        with hub.watch(USER) as feed:
            feed.resume(first.id, 1)
            assert await _told(feed, only) == expected


def test_what_a_stream_is_narrowed_to() -> None:
    job = str(uuid.uuid4())
    assert parse_only(MultiDict()) == Only()
    assert parse_only(MultiDict({"jobId": job.upper()})) == Only(job_id=job)
    assert parse_only(MultiDict({"projectId": PROJECT, "x": "y"})) == Only(project_id=PROJECT)
    with pytest.raises(InvalidRequest) as caught:
        parse_only(MultiDict({"jobId": "nope", "projectId": ""}))
    assert {problem.path for problem in caught.value.problems} == {"jobId", "projectId"}


@pytest.mark.parametrize("value", [None, "", ":", "nope:1", f"{PROJECT}", f"{PROJECT}:", f"{PROJECT}:-1", f"{PROJECT}:٣",
                                   f"{PROJECT}:{'9' * 40}"])  # fmt: skip
def test_a_foreign_event_id_is_ignored(value: str | None) -> None:
    assert parse_event_id(value) is None


def test_event_id() -> None:
    assert parse_event_id(f"{PROJECT.upper()}:17") == (PROJECT, 17)
    assert PONG == '{"event":"pong"}'
