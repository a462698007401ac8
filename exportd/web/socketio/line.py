"""A session's packets over a WebSocket."""

from __future__ import annotations

import trio

from exportd.web.feed import MAX_MESSAGE
from exportd.web.socketio import packets
from exportd.web.socketio.packets import BadPacket
from exportd.web.socketio.session import BROKEN, LEFT, TOO_BIG, Session, SessionOver
from exportd.web.websocket import Socket


class Line:
    """One WebSocket of a session."""

    def __init__(self, socket: Socket, session: Session) -> None:
        self._socket, self._session = socket, session

    async def probe(self) -> bool:
        """Whether the client, which polls until now, wants to go on here: it tries the line, then says so."""
        if await self._socket.receive() != packets.PROBE_TEXT:
            return False
        await self._socket.send(packets.PROBED_TEXT)
        self._session.probed()
        return await self._socket.receive() == packets.UPGRADE_TEXT

    async def run(self) -> None:
        """Until the client goes, or the session is over; then both are. The session never outlives this line."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, name="socket.io writer")
                await self._read()
        except* BadPacket:
            self._session.end(BROKEN)
        except* SessionOver:
            pass
        finally:
            self._session.end(LEFT)
        over = self._session.over or LEFT
        await self._socket.close(over.code, over.reason)

    async def _read(self) -> None:
        while self._session.over is None:  # then it is the writer that tells
            message = await self._socket.receive()
            if isinstance(message, str) and len(message.encode()) > MAX_MESSAGE:
                self._session.end(TOO_BIG)
            else:
                await self._session.deliver(packets.read_packet(message))

    async def _write(self) -> None:
        """One packet after the other: what waits in the feed is taken when it can leave, and not before."""
        while True:
            await self._socket.send(await self._session.take())
