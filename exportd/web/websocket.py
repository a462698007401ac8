"""A WebSocket as its sessions see it: texts that come, texts that leave, the close."""

from __future__ import annotations

from functools import lru_cache

import trio
from quart.wrappers import Websocket

from exportd.web.direct import RECENT, sender, text_frame

_frame = lru_cache(RECENT)(text_frame)


class Socket:
    """One client's. What is sent to many is put into a frame once."""

    def __init__(self, socket: Websocket) -> None:
        self._socket = socket
        self._direct = sender(socket.scope)

    async def accept(self) -> None:
        await self._socket.accept()

    async def receive(self) -> str | bytes:
        """The next message. When the client has gone the task is cancelled."""
        return await self._socket.receive()

    async def send(self, text: str) -> None:
        """Sends, once there is room for it. No checkpoint when there is: a loop of sends needs another one."""
        if self._direct is not None:
            await self._direct(_frame(text))
            return
        await self._socket.send(text)
        await trio.lowlevel.checkpoint()  # there is none in a send to a client that has gone

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)
