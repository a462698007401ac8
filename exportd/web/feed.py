"""Events to clients: WebSocket, and Server-Sent Events for those who cannot."""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple

import orjson
import trio
from quart import Response, request, websocket
from quart.wrappers import Websocket
from quart.wrappers.response import ResponseBody
from werkzeug.datastructures import MultiDict

from exportd.core.events import Frame
from exportd.jobs.hub import Feed, FeedOverrun
from exportd.jobs.service import Service
from exportd.web.auth import Auth
from exportd.web.connection import resources
from exportd.web.exports import NAMES, canonical_ids, canonical_uuid
from exportd.web.websocket import Socket

MAX_MESSAGE = 65536
"""Bytes of a client's message."""

MAX_SUBSCRIPTIONS = 1000
"""Jobs and projects that one WebSocket may be narrowed to: each is remembered as long as it is open."""

KEEP_ALIVE = 15.0
"""Seconds of silence after which an SSE stream shows that it is alive."""

BAD_DATA, TOO_MANY, TOO_BIG, RESTART, TRY_LATER = 1007, 1008, 1009, 1012, 1013
PONG = '{"event":"pong"}'
MAX_SEQ = 2**53


class Refused(Exception):
    """The session ends for what the client sent: close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Command(NamedTuple):
    """What a client's message asks for."""

    action: str
    job_id: str | None = None
    project_id: str | None = None
    since: int | None = None


def parse(message: object) -> Command:
    """Raises `Refused`."""
    if not isinstance(message, str | bytes):
        raise Refused(BAD_DATA, "an empty message")
    if len(message.encode() if isinstance(message, str) else message) > MAX_MESSAGE:
        raise Refused(TOO_BIG, "messages have at most 64 KiB")
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError:
        raise Refused(BAD_DATA, "this is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(BAD_DATA, "a message is a JSON object")
    match value.get("action"):
        case "subscribe":
            return Command("subscribe", _id(value, "jobId"), _id(value, "projectId"), _since(value))
        case "unsubscribe" | "ping" as action:
            return Command(action)
        case _:
            raise Refused(BAD_DATA, "action is subscribe, unsubscribe or ping")


def _id(value: dict[str, object], name: str) -> str | None:
    given = value.get(name)
    if given is None:
        return None
    found = canonical_uuid(given) if isinstance(given, str) else None
    if found is None:
        raise Refused(BAD_DATA, f"{name} is no UUID")
    return found


def _since(value: dict[str, object]) -> int | None:
    since = value.get("since")
    if since is None:
        return None
    if type(since) is not int or not 0 <= since < MAX_SEQ:
        raise Refused(BAD_DATA, "since is no event number")
    return since


class Session:
    """One WebSocket: its feed goes out, its commands come in."""

    def __init__(self, socket: Socket, feed: Feed) -> None:
        self._socket, self._feed = socket, feed

    async def run(self) -> None:
        """Until the client goes, breaks the rules or is too slow, or the service ends; then it is closed."""
        code, reason = RESTART, "the service is stopping"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, name="feed writer")
                await self._read()
        except* Refused as refused:
            code, reason = BAD_DATA, "this message is not understood"
            for error in refused.exceptions:
                if isinstance(error, Refused):
                    code, reason = error.code, error.reason
        except* FeedOverrun:
            code, reason = TRY_LATER, "too slow for the events; connect again"
        except* trio.EndOfChannel:
            pass
        await self._socket.close(code, reason)

    async def _read(self) -> None:
        while True:
            await self._obey(parse(await self._socket.receive()))

    async def _obey(self, command: Command) -> None:
        match command.action:
            case "ping":
                await self._feed.wait_told()  # so that a pong also means: the replay is complete
                await self._socket.send(PONG)
            case "unsubscribe":
                self._feed.unsubscribe()
            case _ if command != Command("subscribe") and self._feed.subscriptions >= MAX_SUBSCRIPTIONS:
                raise Refused(TOO_MANY, f"at most {MAX_SUBSCRIPTIONS} subscriptions; unsubscribe first")
            case _:
                self._feed.subscribe(job_id=command.job_id, project_id=command.project_id, since=command.since)

    async def _write(self) -> None:
        while True:
            frame = await self._feed.receive()
            await self._socket.send(frame.payload.decode())


class Only(NamedTuple):
    """What `?jobId=` and `?projectId=` narrow a stream to; all of the user's events when neither is there."""

    job_id: str | None = None
    project_id: str | None = None

    def admits(self, frame: Frame) -> bool:
        return self == (None, None) or self.job_id == frame.job_id or self.project_id == frame.project_id


class EventStream(ResponseBody):
    """The feed as text/event-stream."""

    def __init__(self, feed: Feed, only: Only) -> None:
        self._feed, self._only = feed, only
        self._begun = False

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        return None

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if not self._begun:  # proxies and clients show the stream as open once something came
            self._begun = True
            return b": connected\n\n"
        await trio.lowlevel.checkpoint()
        try:
            with trio.move_on_after(KEEP_ALIVE):
                return as_sse(await self._next())
        except (trio.EndOfChannel, FeedOverrun):  # the client comes back with Last-Event-ID
            raise StopAsyncIteration from None
        return b": keep-alive\n\n"

    async def _next(self) -> Frame:
        """A resumed feed tells all of the user's events again, whatever it was narrowed to."""
        while not self._only.admits(frame := await self._feed.receive()):
            pass
        return frame


def as_sse(frame: Frame) -> bytes:
    """One event; the payload is JSON on one line."""
    return f"id: {frame.job_id}:{frame.seq}\nevent: {frame.event}\ndata: {frame.payload.decode()}\n\n".encode()


def parse_event_id(value: str | None) -> tuple[str, int] | None:
    """Job and number of a Last-Event-ID; None for what we never sent: the stream then begins now."""
    text, _, seq = (value or "").rpartition(":")
    job_id = canonical_uuid(text)
    if job_id is not None and seq.isascii() and seq.isdigit() and len(seq) <= 15:
        return job_id, int(seq)
    return None


def parse_only(query: MultiDict[str, str]) -> Only:
    """Raises `InvalidRequest`."""
    return Only(**canonical_ids({name: query[wire] for name, wire in NAMES.items() if wire in query}))


class Feeds:
    """The views of both streams."""

    def __init__(self, service: Service, auth: Auth) -> None:
        self._service, self._auth = service, auth

    async def socket(self) -> None:
        """`/ws`. An error before the accept is the answer to the handshake."""
        socket: Websocket = websocket._get_current_object()  # type: ignore[attr-defined]
        user = self._auth.watcher(socket)
        with self._service.watch(user) as feed:
            await socket.accept()
            await Session(Socket(socket), feed).run()

    async def stream_events(self) -> Response:
        """`/api/exports/events`. The feed is open before the headers leave: nothing after them is missed."""
        asked = request._get_current_object()  # type: ignore[attr-defined]
        user = self._auth.user(asked)
        only = parse_only(request.args)
        if request.method == "HEAD":
            return _stream(b"")
        feed = resources(asked).enter_context(self._service.watch(user))
        if only != Only():
            feed.subscribe(job_id=only.job_id, project_id=only.project_id)
        if (last := parse_event_id(request.headers.get("Last-Event-ID"))) is not None:
            feed.resume(*last)
        return _stream(EventStream(feed, only))


def _stream(body: EventStream | bytes) -> Response:
    response = Response(body, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.timeout = None
    return response
