"""Sessions over the real hub, under a clock of their own; what needs a database is left out."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import trio
import trio.testing
from rounds import counting

from exportd.core import events
from exportd.core.job import Job, Progress
from exportd.core.options import ExportOptions
from exportd.core.registry import Registry
from exportd.core.users import User
from exportd.errors import InvalidRequest, NotFound, ShuttingDown, TooManySessions
from exportd.jobs.hub import TOLD_AT_ONCE, Feed, Hub
from exportd.settings import Settings
from exportd.tokens import make_token
from exportd.web.auth import Auth
from exportd.web.socketio import engine as engines
from exportd.web.socketio import packets
from exportd.web.socketio.conversation import CONNECT_SECONDS
from exportd.web.socketio.engine import Engine, open_engine
from exportd.web.socketio.line import Line
from exportd.web.socketio.packets import BadPacket
from exportd.web.socketio.session import (
    BROKEN,
    CHUNK,
    FAILED,
    MAX_UNREAD,
    MAX_WAITING,
    PING_INTERVAL,
    PING_TIMEOUT,
    RESTART,
    SILENT,
    TRY_LATER,
    UPGRADE_SECONDS,
    Session,
    SessionOver,
)
from exportd.web.websocket import Socket

USER, OTHER = User("u1", "a@example.org"), User("u2", "b@example.org")
AT = datetime(2026, 1, 31, tzinfo=UTC)
DONE = {"success": True}
PROJECT, FOREIGN = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
SECRET, SETTINGS = b"test-" + b"0123456789abcdef" * 3, Settings(data=Path("nowhere"))


Clock = trio.testing.MockClock


class Backend:
    """The hub, and one project that everybody sees."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def watch(self, user: User) -> AbstractContextManager[Feed]:
        return self._hub.watch(user)

    async def sees(self, user: User, project_id: str) -> bool:  # noqa: ARG002 - the signatures are the service's
        await trio.lowlevel.checkpoint()
        if project_id == FOREIGN:
            raise RuntimeError("the catalogue is gone")
        return project_id == PROJECT

    async def cancel(self, user: User, project_id: str, job_id: str) -> tuple[Job, bool]:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        raise NotFound

    def hurry(self) -> AbstractContextManager[None]:
        return nullcontext()


def new_hub() -> Hub:
    return Hub(Registry(max_active_per_user=10_000, max_active=10_000))


class Stalled:
    """A WebSocket whose client says nothing, and takes nothing until it is `flowing`."""

    def __init__(self) -> None:
        self.flowing, self.sent = trio.Event(), list[str]()
        self.closed: tuple[int, str] | None = None

    async def receive(self) -> str:
        await trio.sleep_forever()

    async def send(self, text: str) -> None:
        await self.flowing.wait()
        self.sent.append(text)

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[Engine]:
    async with open_engine(Backend(hub), Auth(SECRET, SETTINGS)) as engine:
        yield engine


async def say(session: Session, text: str) -> None:
    await session.deliver(packets.read_packet(text))


async def connect(engine: Engine, user: User = USER, *, polling: bool = True) -> Session:
    session = engine.admit(user, polling=polling)
    await say(session, "40")
    text = await session.poll() if polling else await session.take()
    assert text.startswith('40{"sid":')
    assert session.id not in text, "the id that speaks for the client is told to nobody else"
    return session


async def settled() -> None:
    """Sessions that are over have unwound."""
    await trio.testing.wait_all_tasks_blocked()


async def polled(session: Session, nursery: trio.Nursery) -> list[str]:
    """A poll that waits; its answer comes into the list."""
    answers: list[str] = []

    async def poll() -> None:
        answers.append(await session.poll())

    nursery.start_soon(poll)
    await settled()
    return answers


def new_job(name: str = "P", user: User = USER) -> Job:
    options = ExportOptions(include_documentation=True)
    progress = Progress(0, "processing")
    return Job(str(uuid.uuid4()), PROJECT, name, user, options, AT, started_at=AT, progress=progress)


def tell(hub: Hub, job: Job, progress: int = 0) -> None:
    """`started` and so much progress."""
    hub.publish(events.started(job), job)
    for _ in range(progress):
        hub.publish(events.progress(job, AT), job)


def told(payload: str) -> list[tuple[str, str]]:
    """Event and job of each event in a payload."""
    found: list[Any] = [orjson.loads(text[2:]) for text in payload.split("\x1e") if text.startswith("42")]
    return [(name, data["jobId"]) for name, data in found]


# --- who is there ----------------------------------------------------------------------------------------------------


async def test_who_answers_pings_stays_and_who_does_not_is_gone(autojump_clock: Clock) -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine)
        for _ in range(3):
            assert await session.poll() == packets.PING_TEXT
            await say(session, "3")
        assert await session.poll() == packets.PING_TEXT
        began = trio.current_time()
        assert await session.poll() == packets.CLOSE_TEXT
        assert trio.current_time() - began == PING_TIMEOUT
        await settled()
        assert (session.over, len(engine)) == (SILENT, 0)


async def test_who_vanishes_between_two_polls_leaves_nothing(autojump_clock: Clock) -> None:
    hub = new_hub()
    async with running(hub) as engine:
        await connect(engine)
        await trio.sleep(PING_INTERVAL + PING_TIMEOUT + 1)
        assert (hub.watchers, len(engine)) == (0, 0)


async def test_who_vanishes_in_a_poll_leaves_nothing(autojump_clock: Clock) -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine)
        with trio.move_on_after(1):
            await session.poll()
        await settled()
        assert (hub.watchers, len(engine)) == (0, 0)


async def test_who_does_not_say_who_they_are_loses_their_place(autojump_clock: Clock) -> None:
    async with running(new_hub()) as engine:
        session = engine.admit(None, polling=True)
        began = trio.current_time()
        assert await session.poll() == packets.CLOSE_TEXT
        assert trio.current_time() - began == CONNECT_SECONDS


async def test_a_token_in_the_packet_does_where_the_handshake_named_nobody() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = engine.admit(None, polling=True)
        for auth in ("", "{}", '{"token":7}', '{"token":"x"}'):
            await say(session, f"40{auth}")
            assert (await session.poll()).startswith('44{"message":"Authentication')
        token = make_token(SECRET, SETTINGS, USER, 60)
        await say(session, f'40{{"token":"{token}"}}')
        assert (await session.poll()).startswith("40")
        tell(hub, new_job())
        assert len(told(await session.poll())) == 1


async def test_a_token_does_not_make_a_user_another_one() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = engine.admit(USER, polling=True)
        await say(session, f'40{{"token":"{make_token(SECRET, SETTINGS, OTHER, 60)}"}}')
        await session.poll()
        mine, foreign = new_job(), new_job(user=OTHER)
        tell(hub, foreign)
        tell(hub, mine)
        assert told(await session.poll()) == [(events.STARTED, mine.id)]


async def test_a_session_is_known_to_who_opened_it_alone() -> None:
    async with running(new_hub()) as engine:
        mine, nobodys = engine.admit(USER, polling=True), engine.admit(None, polling=True)
        assert engine.find(mine.id, USER) is mine
        assert engine.find(nobodys.id, None) is nobodys
        for sid, visitor in ((mine.id, OTHER), (mine.id, None), (nobodys.id, USER), ("nope", USER), ("nope", None)):
            with pytest.raises(InvalidRequest):
                engine.find(sid, visitor)
        mine.end(SILENT)
        with pytest.raises(InvalidRequest):
            engine.find(mine.id, USER)


async def test_places_are_limited_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "MAX_PER_OWNER", 2)
    monkeypatch.setattr(engines, "MAX_SESSIONS", 3)
    async with running(new_hub()) as engine:
        first, _ = engine.admit(USER, polling=True), engine.admit(USER, polling=False)
        with pytest.raises(TooManySessions):
            engine.admit(USER, polling=True)
        engine.admit(None, polling=True)
        with pytest.raises(TooManySessions):
            engine.admit(OTHER, polling=True)
        first.end(SILENT)
        await settled()
        engine.admit(USER, polling=True)


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_every_session_of_a_user_is_told_the_same_and_others_nothing(autojump_clock: Clock) -> None:
    hub = new_hub()
    async with running(hub) as engine:
        polls, lines = await connect(engine), await connect(engine, polling=False)
        other = await connect(engine, OTHER)
        job = new_job()
        tell(hub, job, progress=1)
        expected = [(events.STARTED, job.id), (events.PROGRESS, job.id)]
        assert told(await polls.poll()) == expected
        assert [told(await lines.take())[0] for _ in expected] == expected
        assert await other.poll() == packets.PING_TEXT


async def test_a_slow_client_gets_merged_progress_in_one_answer() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine)
        job = new_job()
        tell(hub, job, progress=50)
        assert told(await session.poll()) == [(events.STARTED, job.id), (events.PROGRESS, job.id)]


@pytest.mark.parametrize("polling", [True, False])
async def test_once_a_cancel_is_decided_nothing_leaves_but_the_cancelled_event(polling: bool) -> None:
    """What waits is taken when it can leave, and not before: else it would get past the gate."""
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine, polling=polling)
        job = new_job()
        tell(hub, job, progress=3)
        hub.shut(job)
        hub.publish(events.Message(events.COMPLETED, {"jobId": job.id}), job)
        hub.publish(events.Message(events.CANCELLED, {"jobId": job.id}), job)
        text = await session.poll() if polling else await session.take()
        assert told(text) == [(events.CANCELLED, job.id)]


async def test_a_line_takes_an_event_only_when_the_one_before_has_left() -> None:
    hub, socket = new_hub(), Stalled()
    async with running(hub) as engine, trio.open_nursery() as nursery:
        session = await connect(engine, polling=False)
        nursery.start_soon(Line(cast("Socket", socket), session).run)
        jobs = [new_job() for _ in range(3)]
        for job in jobs:
            tell(hub, job)
        await settled()
        for job in jobs[1:]:
            hub.shut(job)
        socket.flowing.set()
        await settled()
        assert [told(text) for text in socket.sent] == [[(events.STARTED, jobs[0].id)]]
        session.end(RESTART)
    assert socket.closed == (RESTART.code, RESTART.reason)


@pytest.mark.parametrize("polling", [True, False])
async def test_many_sessions_take_turns_and_all_are_told_in_the_end(polling: bool) -> None:
    hub, told_in = new_hub(), Counter[int]()
    async with running(hub) as engine:
        sessions = [await connect(engine, polling=polling) for _ in range(5 * TOLD_AT_ONCE)]

        async def hear(session: Session) -> None:
            while True:
                text = await (session.poll() if polling else session.take())
                told_in[rounds.now] += len(told(text))

        with counting() as rounds:
            async with trio.open_nursery() as nursery:
                for session in sessions:
                    nursery.start_soon(hear, session)
                await settled()
                for job in (new_job(), new_job()):
                    tell(hub, job)
                    await settled()
                nursery.cancel_scope.cancel()
        assert told_in.total() == 2 * len(sessions)
        assert max(told_in.values()) <= TOLD_AT_ONCE


async def test_an_answer_does_not_wait_for_a_turn() -> None:
    hub = new_hub()
    async with running(hub) as engine, trio.open_nursery() as nursery:
        session = await connect(engine)
        answers = await polled(session, nursery)
        session.answer("an answer")
        await settled()
        assert answers == ["an answer"]
        nursery.cancel_scope.cancel()


async def test_a_poll_is_answered_in_parts_when_there_is_much() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine)
        jobs = [new_job("n" * 400) for _ in range(300)]
        for job in jobs:
            tell(hub, job)
        answers = [await session.poll()]
        while sum(len(told(answer)) for answer in answers) < len(jobs):
            answers.append(await session.poll())
        assert [job for answer in answers for _, job in told(answer)] == [job.id for job in jobs]
        assert len(answers) > 1
        assert all(len(answer) < 2 * CHUNK for answer in answers)


async def test_a_cancelled_wait_loses_nothing(autojump_clock: Clock) -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine, polling=False)
        jobs = [new_job() for _ in range(20)]
        seen: list[tuple[str, str]] = []
        for job in jobs:
            with trio.CancelScope() as scope:
                scope.cancel()
                await session.take()
            tell(hub, job)
            with trio.move_on_after(1):
                while True:
                    seen += told(await session.take())
        assert seen == [(events.STARTED, job.id) for job in jobs]


async def test_who_cannot_take_the_events_is_sent_away() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine)
        for _ in range(events.MAX_OUTBOX + 1):
            tell(hub, new_job())
        assert await session.poll() == packets.CLOSE_TEXT
        await settled()
        assert (session.over, hub.watchers, len(engine)) == (TRY_LATER, 0, 0)


async def test_who_asks_without_listening_is_sent_away(autojump_clock: Clock) -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine)
        for _ in range(MAX_WAITING + MAX_UNREAD + 10):
            await say(session, '421["x"]')
        await settled()
        assert session.over == TRY_LATER
        await say(session, '421["x"]')  # and does not hang


async def test_at_the_end_of_the_service_all_is_told_first() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        polls, lines = await connect(engine), await connect(engine, polling=False)
        waiting = engine.admit(USER, polling=True)
        job = new_job()
        tell(hub, job)
        hub.end()
        engine.drain()
        payload = await polls.poll()
        assert told(payload) == [(events.STARTED, job.id)]
        assert payload.endswith(f"\x1e{packets.CLOSE_TEXT}")
        assert told(await lines.take()) == [(events.STARTED, job.id)]
        with pytest.raises(SessionOver) as caught:
            await lines.take()
        assert caught.value.end == RESTART
        assert await waiting.poll() == packets.CLOSE_TEXT
        with pytest.raises(ShuttingDown):
            engine.admit(USER, polling=True)


async def test_leaving_the_engine_leaves_nothing() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine)
    assert session.over is not None
    assert (hub.watchers, len(engine)) == (0, 0)


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["41", '42["x"]', '42/a,["x"]'])
async def test_who_does_not_connect_first_is_sent_away(first: str) -> None:
    async with running(new_hub()) as engine:
        session = engine.admit(USER, polling=True)
        await say(session, first)
        assert await session.poll() == packets.CLOSE_TEXT
        assert session.over == BROKEN


@pytest.mark.parametrize("again", ["40", '42/a,["x"]', "41/a,"])
async def test_what_makes_no_sense_once_connected_ends_it(again: str) -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine)
        await say(session, again)
        assert await session.poll() == packets.CLOSE_TEXT
        assert session.over == BROKEN


@pytest.mark.parametrize("connected", [True, False])
async def test_there_is_one_namespace(connected: bool) -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine) if connected else engine.admit(USER, polling=True)
        await say(session, "40/admin,")
        assert await session.poll() == '44/admin,{"message":"Invalid namespace"}'
        assert session.over is None


async def test_a_client_may_disconnect_and_connect_again() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine)
        await say(session, "41")
        await settled()
        assert hub.watchers == 0
        tell(hub, new_job())
        await say(session, "40")
        assert (await session.poll()).startswith("40")
        assert hub.watchers == 1
        await say(session, "1")
        assert await session.poll() == packets.NOOP_TEXT


@pytest.mark.parametrize(
    ("said", "answers"),
    [(f'427["join-project","{PROJECT}"]', [DONE]), (f'427["join-project","{PROJECT.upper()}"]', [DONE]),
     (f'427["leave-project","{PROJECT}"]', [DONE]), ('427["ping"]', []), ('427["request-queue-stats","x"]', []),
     ('427["join-project"]', []), ('427["join-project",{}]', []), ('427["export:cancel",{"jobId":7}]', [])],
)  # fmt: skip
async def test_who_waits_for_an_answer_gets_one(said: str, answers: list[object], autojump_clock: Clock) -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine)
        await say(session, said)
        text = await session.poll()
        assert (text[:3], orjson.loads(text[3:])) == ("437", answers)
        await say(session, said.replace("427", "42"))
        assert await session.poll() == packets.PING_TEXT, "who does not wait gets none"


@pytest.mark.parametrize("project", [str(uuid.UUID(int=9)), "nope", ""])
async def test_a_foreign_project_cannot_be_joined(project: str) -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine)
        await say(session, f'427["join-project","{project}"]')
        event, ack = (await session.poll()).split("\x1e")
        assert orjson.loads(event[2:])[0] == "unauthorized"
        assert orjson.loads(ack[3:])[0]["success"] is False


async def test_what_cannot_be_cancelled_is_said() -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine)
        await say(session, f'42["export:cancel",{{"projectId":"{PROJECT}","jobId":"x"}}]')
        name, data = orjson.loads((await session.poll())[2:])
        assert (name, data["jobId"], data["code"]) == ("export:cancel-error", "x", "NOT_FOUND")


async def test_what_goes_wrong_in_a_session_stays_in_it() -> None:
    hub = new_hub()
    async with running(hub) as engine:
        broken, other = await connect(engine), await connect(engine)
        await say(broken, f'42["join-project","{FOREIGN}"]')
        assert await broken.poll() == packets.CLOSE_TEXT
        await settled()
        assert (broken.over, len(engine)) == (FAILED, 1)
        tell(hub, new_job())
        assert len(told(await other.poll())) == 1


# --- one line at a time ------------------------------------------------------------------------------------------------


async def test_two_polls_end_the_session() -> None:
    async with running(new_hub()) as engine, trio.open_nursery() as nursery:
        session = await connect(engine)
        answers = await polled(session, nursery)
        with pytest.raises(BadPacket):
            await session.poll()
        await settled()
        assert (answers, session.over) == ([packets.CLOSE_TEXT], BROKEN)


async def test_an_upgrade_ends_the_poll_and_takes_over_what_waits() -> None:
    hub = new_hub()
    async with running(hub) as engine, trio.open_nursery() as nursery:
        session = await connect(engine)
        answers = await polled(session, nursery)
        with session.upgrading():
            await settled()
            assert answers == [], "a line that was not tried yet changes nothing"
            session.probed()
            await settled()
            assert answers == [packets.NOOP_TEXT]
            assert await session.poll() == packets.NOOP_TEXT
            session.upgrade()
        job = new_job()
        tell(hub, job)
        assert await session.poll() == packets.NOOP_TEXT, "a poll that is late takes nothing"
        assert told(await session.take()) == [(events.STARTED, job.id)]
        with pytest.raises(BadPacket), session.upgrading():
            pass


async def test_an_upgrade_that_comes_to_nothing_changes_nothing(autojump_clock: Clock) -> None:
    hub = new_hub()
    async with running(hub) as engine:
        session = await connect(engine)
        began = trio.current_time()
        with session.upgrading():
            session.probed()
            await trio.sleep(1000)
        assert trio.current_time() - began == UPGRADE_SECONDS
        with session.upgrading(), pytest.raises(BadPacket), session.upgrading():
            pass
        job = new_job()
        tell(hub, job)
        assert told(await session.poll()) == [(events.STARTED, job.id)]
        assert await session.poll() == packets.PING_TEXT, "polls wait again"


async def test_a_session_that_ends_does_not_wait_for_its_upgrade(autojump_clock: Clock) -> None:
    async with running(new_hub()) as engine:
        session = await connect(engine)
        began = trio.current_time()
        with session.upgrading():
            session.end(RESTART)
            await trio.sleep(1000)
        assert trio.current_time() == began
