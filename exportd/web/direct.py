"""WebSocket frames straight to the client's TCP connection, for what is told to many.

A thousand clients that watch one export are all told the same bytes. quart, wsproto and hypercorn would make them a thousand
times, and pass the event loop five times for each: that took 0.15 ms of the processor a message. Here the frame is made
once, and a send is one call of the kernel. Only a client whose connection is full goes the old way, and waits there.

The frames are whole ones, which may stand between any two of wsproto's (RFC 6455, 5.4); extensions are never agreed to.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import trio
from hypercorn.events import RawData
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.tcp_server import TCPServer
from wsproto.connection import ConnectionState

RECENT = 32
"""Texts that are kept as they go out. Clients that keep up are all at the same few."""

_SENDER = "exportd.send_frame"
_TEXT = 0x81
"""First byte of a frame: a text, whole."""

Sender = Callable[[bytes], Awaitable[None]]


def text_frame(text: str) -> bytes:
    """A server's frame (RFC 6455, 5.2)."""
    data = text.encode()
    if len(data) < 126:
        head = struct.pack("!BB", _TEXT, len(data))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", _TEXT, 126, len(data))
    else:
        head = struct.pack("!BBQ", _TEXT, 127, len(data))
    return head + data


def sender(scope: Mapping[str, Any]) -> Sender | None:
    """What sends frames to the client of this ASGI scope; None when the connection is not a `DirectConnection`."""
    return cast("Sender | None", scope.get("state", {}).get(_SENDER))


class DirectConnection(TCPServer):
    """hypercorn's connection; ASGI's `state` of its requests tells how to send frames past it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state[_SENDER] = self.send_frame

    async def send_frame(self, frame: bytes) -> None:
        """Sends a frame, whole and after those before, or nothing once the WebSocket is closing.

        No checkpoint when the kernel takes all of it. A cancel leaves it sent or unsent.
        """
        if not self._is_open:
            return
        rest = memoryview(frame)
        if not self.send_lock.locked():
            rest = rest[self._put(frame) :]
        if rest:
            # What is begun has to be finished before another frame: from here to the lock there is no checkpoint.
            with trio.CancelScope(shield=len(rest) < len(frame)):
                await self.protocol_send(RawData(bytes(rest)))

    @property
    def _is_open(self) -> bool:
        stream = getattr(self.protocol, "stream", None)
        return isinstance(stream, WSStream) and not stream.closed and stream.connection.state is ConnectionState.OPEN

    def _put(self, frame: bytes) -> int:
        """How much of it the kernel took."""
        try:
            return os.write(self.stream.socket.fileno(), frame)
        except BlockingIOError:
            return 0
        except OSError:  # the client is gone; who reads from it is told
            return len(frame)
