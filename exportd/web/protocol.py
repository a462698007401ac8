"""One connection: hypercorn's HTTP/1.1 and WebSocket, without what lets a client take more than it gives.

- No HTTP/2, which nobody needs here and which downloads slowly: another protocol is never changed to.
- No compression of WebSocket messages. 60 KiB of them are 60 MiB when they are inflated, and that is done before anybody
  asks how large they are.
- A message that is too large is not kept. hypercorn answers it with 1009, and would go on collecting it.
- Nothing waits for an application that has ended. Who sends on and goes away would leave a connection for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import FrameTooLargeError, WebsocketBuffer, WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, Scope
from hypercorn.utils import parse_socket_addr
from wsproto.events import Message

from exportd.web.direct import DirectConnection

LINGER = 1.0
"""Seconds in which a client that is refused may take note of it: a socket that is closed while data come loses what it
sent last."""

MAX_HEAD = 16 << 10
"""Bytes of a request's address and headers. h11 has the same limit, but only for a head that does not come at once."""

_Give = Callable[[Any], Awaitable[None]]
_EXTENSIONS = b"sec-websocket-extensions"


class ProtocolContext(WorkerContext):
    """One connection's: its pauses end with it. Else the task that pings would hold a connection that has ended, and with
    it the shutdown, until the next ping is due."""

    def __init__(self, shared: WorkerContext) -> None:
        super().__init__(None)
        self.terminated = shared.terminated
        self.gone = trio.Event()

    async def sleep(self, wait: float | int) -> None:  # type: ignore[override]  # there it is static
        with trio.move_on_after(wait):
            await self.gone.wait()


class Protocol(DirectConnection):
    """hypercorn's connection. A send beside the close of a client that has gone is no fault."""

    context: ProtocolContext
    stream: trio.SocketStream  # type: ignore[assignment]  # TLS is the proxy's
    protocol: _HTTP1  # type: ignore[assignment]
    on_idle: Callable[[bool], None]
    """Told when a request begins, and when the next one is waited for."""

    async def run(self) -> None:
        """The connection, to its end."""
        sock = self.stream.socket
        try:
            client, server = parse_socket_addr(sock.family, sock.getpeername()), sock.getsockname()
            async with _Tasks() as self._task_group:
                self.protocol = _HTTP1(
                    self.app,
                    self.config,
                    cast("Any", self.context),
                    self._task_group,
                    ConnectionState(self.state),
                    False,
                    client,
                    parse_socket_addr(sock.family, server),
                    self.protocol_send,
                )
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass
        finally:
            with trio.move_on_after(LINGER, shield=True):
                await self._close()

    async def _read_data(self) -> None:
        try:
            while not self.protocol.refused and (data := await self._received()):
                await self.protocol.handle(RawData(data))
            if self.protocol.refused:
                with trio.move_on_after(LINGER):
                    while await self._received():
                        pass
            await self.protocol.handle(RawData(b""))
        finally:
            self.context.gone.set()
        await self.protocol.handle(Closed())

    async def _received(self) -> bytes:
        """What comes next; nothing when the client has gone."""
        try:
            return bytes(await self.stream.receive_some(MAX_RECV))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return b""

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self.on_idle(event.idle)
        if isinstance(event, RawData) and not event.data:
            return  # the end of an answer whose length was told; the server's machinery for a send costs as much as the send
        try:
            await super().protocol_send(event)
        except trio.BusyResourceError:
            await self.protocol.handle(Closed())


class _Tasks(TaskGroup):
    """The tasks of a connection."""

    async def spawn_app(self, app: Any, config: Config, scope: Scope, send: Any) -> _Give:
        """Starts the application; what its messages are given to. Once it has ended they are dropped."""
        put, take = trio.open_memory_channel[Any](config.max_app_queue_size)

        async def answer(scope: Scope, _receive: object, *rest: object) -> None:
            with take:
                await app(scope, take.receive, *rest)

        async def give(message: object) -> None:
            with suppress(trio.BrokenResourceError):
                await put.send(message)

        await super().spawn_app(cast("Any", answer), config, scope, send)
        return give


class _HTTP1(H11Protocol):
    @property
    def refused(self) -> bool:
        """The client was told that its message is too large."""
        return isinstance(self.stream, WSStream) and cast("_Buffer", self.stream.buffer).overrun

    async def _check_protocol(self, event: h11.Request) -> None:
        """No other protocol is changed to."""

    async def _create_stream(self, request: h11.Request) -> None:
        if sum(len(name) + len(value) for name, value in request.headers) + len(request.target) > MAX_HEAD:
            await self._send_error_response(431)
            await self.send(Closed())
        else:
            await super()._create_stream(_without_extensions(request))
        if isinstance(self.stream, WSStream):
            self.stream.buffer = _Buffer(self.config.websocket_max_message_size)


def _without_extensions(request: h11.Request) -> h11.Request:
    headers = [(name, value) for name, value in request.headers if name != _EXTENSIONS]
    if len(headers) == len(request.headers):
        return request
    return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)


class _Buffer(WebsocketBuffer):
    """A message as far as it has come; nothing any more once it is too large."""

    overrun = False

    def extend(self, event: Message[Any]) -> None:
        self.overrun = self.overrun or self.length + len(event.data) > self.max_length
        if self.overrun:
            self.clear()
            raise FrameTooLargeError
        super().extend(event)
