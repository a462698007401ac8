"""hypercorn's HTTP/1.1 and WebSocket in our own nursery, on our own sockets, with an end that no client can put off.

hypercorn shields every send: a client that does not read cannot be cancelled. So the sockets are ours: the kernel gives
up a peer that takes nothing for `USER_TIMEOUT`, and `cut` closes whatever is left.
"""

from __future__ import annotations

import logging
import resource
import socket
import struct
from contextlib import suppress
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from quart_trio import QuartTrio

from exportd.web.defences import HEADERS
from exportd.web.feed import MAX_MESSAGE
from exportd.web.protocol import Protocol, ProtocolContext

log = structlog.get_logger("exportd.web")

USER_TIMEOUT = 30_000
"""Milliseconds that sent data may stay unacknowledged."""

KEEP_ALIVE = 30.0
"""Seconds that an idle connection is kept; longer than clients keep theirs, so that it is they who close."""

PING_INTERVAL = 20.0
BACKLOG = 256

MAX_CONNECTIONS = 20_000
"""However many descriptors there are: an idle one takes some 30 KiB of memory."""

RESERVED = 128
"""Descriptors that no connection gets: databases, staging files and images of running exports."""

ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: a close drops what was not sent yet."""


async def serve(
    app: QuartTrio,
    *,
    host: str,
    port: int,
    stopping: trio.Event,
    cut: trio.Event,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serves until `stopping`; then no new connections, and requests in flight have until `cut`: for how many of them that
    was too soon, event streams among them.

    Reports the address that it listens on. Raises `OSError` when it cannot listen.
    """
    listeners = await open_listeners(host, port)
    server = _Server(app)
    await app.startup()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.abort_when, cut, nursery.cancel_scope, name="cut")
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accept = partial(trio.serve_listeners, server.handle, listeners, handler_nursery=connections)
                accepting.start_soon(accept, name="accept")
                task_status.started(_url(host, listeners[0]))
                await stopping.wait()
                accepting.cancel_scope.cancel()
            await server.end_idle()
        nursery.cancel_scope.cancel()
    return server.broken_off


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Sockets on every address of `host`, all on one port."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[trio.SocketListener] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            listeners.append(trio.SocketListener(await _listen(family, address, port)))
            port = port or listeners[0].socket.getsockname()[1]
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    return listeners


async def _listen(family: int, address: Any, port: int) -> trio.socket.SocketType:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # IPv4 has a socket of its own, where there is one
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _limit_silence(sock)
        await sock.bind((address[0], port, *address[2:]))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _limit_silence(sock: trio.socket.SocketType) -> None:
    if option := getattr(socket, "TCP_USER_TIMEOUT", None):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, option, USER_TIMEOUT)


def _url(host: str, listener: trio.SocketListener) -> str:
    port = listener.socket.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server:
    """The open connections."""

    def __init__(self, app: QuartTrio) -> None:
        self._under_way = _UnderWay(_OldHTTP(app))
        self._app = ASGIWrapper(cast("ASGIFramework", self._under_way))
        self._config = _config()
        self._context = WorkerContext(None)
        self._room = room()
        self._streams: set[trio.SocketStream] = set()
        self._idle: dict[trio.SocketStream, None] = {}
        """Those between two requests, or before the first; who has waited longest comes first."""
        self.broken_off = 0
        """Requests that `cut` has ended."""

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, to its end. What goes wrong in it stays in it."""
        _limit_silence(stream.socket)
        if not self._has_room():
            return _abort(stream)
        self._streams.add(stream)
        self._note(stream, True)
        try:
            context = ProtocolContext(self._context)
            protocol = Protocol(self._app, self._config, context, ConnectionState({}), cast("Any", stream))
            protocol.on_idle = partial(self._note, stream)
            await protocol.run()
        except Exception:
            log.exception("connection_failed")
        finally:
            self._forget(stream)
            stream.socket.close()

    def _has_room(self) -> bool:
        """Whether there is room for one more connection, for which one that waits may have to go."""
        if len(self._streams) < self._room:
            return True
        if (longest := next(iter(self._idle), None)) is None:
            return False
        self._forget(longest)
        _abort(longest)
        return True

    def _note(self, stream: trio.SocketStream, idle: bool) -> None:
        self._idle.pop(stream, None)
        if idle and stream in self._streams:
            self._idle[stream] = None

    def _forget(self, stream: trio.SocketStream) -> None:
        self._streams.discard(stream)
        self._idle.pop(stream, None)

    async def end_idle(self) -> None:
        """Connections between two requests end now, the others after the one they are at."""
        await self._context.terminated.set()

    async def abort_when(self, cut: trio.Event, scope: trio.CancelScope) -> None:
        """Closes every socket once `cut` is set, or the server is cancelled: sends that are shielded end, too."""
        try:
            await cut.wait()
            self.broken_off = self._under_way.count
        finally:
            for stream in tuple(self._streams):
                _abort(stream)
        scope.cancel()


def room() -> int:
    """Connections that may be open: each has a descriptor, so has the archive that it may download, and some must be left
    for the work itself, or whoever opens enough of them makes exports fail."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        MAX_CONNECTIONS
        if allowed == resource.RLIM_INFINITY
        else min(MAX_CONNECTIONS, max(1, (allowed - RESERVED) // 2))
    )


def _abort(stream: trio.SocketStream) -> None:
    """Closes it, whatever it has still to send."""
    with suppress(OSError):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    stream.socket.close()


class _Config(Config):
    """What the server answers by itself, to what is no HTTP or no handshake, is defended as well."""

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        return super().response_headers(protocol) + _DEFENCES


_DEFENCES = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def _config() -> Config:
    config = _Config()
    config.keep_alive_timeout = KEEP_ALIVE
    config.websocket_max_message_size = MAX_MESSAGE + 1024  # beyond ours, which answers better
    config.websocket_ping_interval = PING_INTERVAL
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("exportd.http")
    return config


class _UnderWay:
    """Counts the requests and sockets that are being answered."""

    def __init__(self, app: _OldHTTP) -> None:
        self._app = app
        self.count = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.count -= 1


class _OldHTTP:
    """Refuses what begins as HTTP/2 does."""

    def __init__(self, app: QuartTrio) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["http_version"] not in {"1.0", "1.1"}:
            await send({"type": "http.response.start", "status": 505, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await self._app(scope, receive, send)
