"""One client, whatever carries its packets: HTTP polls, a WebSocket, or first the one and then the other.

A session outlives the requests that carry it. They meet here: what comes is put into `messages` (bounded: who sends more is
not read), what leaves is taken with `poll` or `take`, answers before events. `end` may be called from anywhere, again too;
whoever waits here is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import trio
from engineio.packet import CLOSE, MESSAGE

from exportd.jobs.hub import Feed, FeedOverrun
from exportd.web.socketio import packets
from exportd.web.socketio.packets import BadPacket, Incoming, Message

MAX_WAITING = 64
"""Answers that may wait for a client; who asks on and on without listening is not served any longer."""

MAX_UNREAD = 16
"""Messages of a client that may wait to be obeyed."""

CHUNK = 65536
"""Bytes beyond which a poll is answered with what it has; the next one gets the rest."""

PING_INTERVAL, PING_TIMEOUT = 25.0, 20.0
"""Seconds between pings, and for the answer. A proxy must not cut a poll before the sum of them."""

UPGRADE_SECONDS = 10.0


class End(NamedTuple):
    """Why a session is over: how its WebSocket is closed, and what a poll that waits is answered."""

    code: int
    reason: str
    text: str = packets.CLOSE_TEXT


LEFT = End(1000, "", packets.NOOP_TEXT)
SILENT = End(1000, "nothing was heard of you for too long")
BROKEN = End(1007, "this packet is not understood")
TOO_BIG = End(1009, "messages have at most 64 KiB")
FAILED = End(1011, "something went wrong; connect again")
RESTART = End(1012, "the service is stopping")
TRY_LATER = End(1013, "too slow for the events; connect again")


class SessionOver(Exception):
    """There is nothing more to come; `end` tells why."""

    def __init__(self, end: End) -> None:
        super().__init__(end.reason)
        self.end = end


class Session:
    """Made by `Engine.admit`, which runs it within `scope`. `owner` is the user that its requests name, None for none."""

    def __init__(self, sid: str, owner: str | None, *, polling: bool) -> None:
        self.id, self.owner, self.polling = sid, owner, polling
        self.scope = trio.CancelScope()
        self.over: End | None = None
        self._inbox, self.messages = trio.open_memory_channel[Message](MAX_UNREAD)
        self._answers: deque[str] = deque()
        self._feed: Feed | None = None
        self._news = trio.lowlevel.ParkingLot()
        self._heard = trio.Event()
        self._busy: set[str] = set()
        self._upgrade: trio.CancelScope | None = None
        self._probed = False

    def end(self, why: End) -> None:
        """The session is over, for the first reason that was given."""
        if self.over is None:
            self.over = why
            self.scope.cancel(reason=why.reason or "left")
            if self._upgrade is not None:
                self._upgrade.cancel(reason="the session is over")
            self._stir()

    def drain(self) -> None:
        """The service stops: the session ends when all is told, or now when nobody is told events; no upgrade any more."""
        if self._feed is None:
            self.end(RESTART)
        elif self._upgrade is not None:
            self._upgrade.cancel(reason="the service is stopping")

    # --- what comes ---------------------------------------------------------------------------------------------------

    async def deliver(self, packet: Incoming) -> None:
        """Takes a packet of the client, once there is room for it. Raises `BadPacket`. A cancel leaves it untaken."""
        self._heard.set()
        if packet.kind == CLOSE:
            self.end(LEFT)
        elif packet.kind == MESSAGE:
            with suppress(trio.BrokenResourceError):  # then it is over
                await self._inbox.send(packets.read_message(packet.text))

    async def keep_alive(self) -> None:
        """Pings, and ends the session when nothing is heard after a ping: then the client is gone or as good as gone."""
        while self.over is None:
            await trio.sleep(PING_INTERVAL)
            self._heard = trio.Event()
            self.answer(packets.PING_TEXT)
            with trio.move_on_after(PING_TIMEOUT):
                await self._heard.wait()
            if not self._heard.is_set():
                self.end(SILENT)

    # --- what leaves --------------------------------------------------------------------------------------------------

    def answer(self, text: str) -> None:
        """Sends this before the events that wait."""
        self._answers.append(text)
        if len(self._answers) > MAX_WAITING:
            self.end(TRY_LATER)
        self._stir()

    @contextmanager
    def telling(self, feed: Feed) -> Iterator[None]:
        """Tells the events of the feed within the block."""
        self._feed, feed.sleepers = feed, self._news
        self._stir()  # who waits now has to wait for its turn with the feed
        try:
            yield
        finally:
            self._feed = None

    async def take(self) -> str:
        """The next packet. Raises `SessionOver`. A cancel leaves nothing behind: no packet is lost."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._answers:
            if self.over is not None:
                raise SessionOver(self.over)
            await self._wait()
            if (text := self._next()) is not None:
                return text
        return self._answers.popleft()

    async def poll(self) -> str:
        """The answer to a poll: what waits, or else the first that comes. Raises `BadPacket` for a second one beside it.

        A client that goes before the answer has come ends the session: this was its only line.
        """
        with self.alone("polls"):
            try:
                texts = await self._wait_texts()
            except BaseException:
                self.end(LEFT)
                raise
        return packets.SEPARATOR.join(texts)

    async def _wait_texts(self) -> list[str]:
        while True:
            leaving = self._probed or not self.polling  # the client waits for the poll's end to change over
            if not (self._answers or leaving or self.over):
                await self._wait()
            texts = self._texts()
            if self.over is not None:
                return [*texts, self.over.text]
            if texts:
                return texts
            if leaving:
                return [packets.NOOP_TEXT]

    async def _wait(self) -> None:
        """Until something changes; for an event, until it is this session's turn to be told."""
        await (self._news.park() if self._feed is None else self._feed.wait_turn())

    def _texts(self) -> list[str]:
        texts: list[str] = []
        size = 0
        while self.polling and size < CHUNK and (text := self._next()) is not None:
            texts.append(text)
            size += len(text)
        return texts

    def _next(self) -> str | None:
        """The next packet, if there is one. The end of the feed, once all of it is told, is that of the session."""
        if self._answers:
            return self._answers.popleft()
        if self._feed is None or self.over is not None:
            return None
        try:
            frame = self._feed.take_nowait()
        except trio.EndOfChannel:
            self.end(RESTART)
            return None
        except FeedOverrun:
            self.end(TRY_LATER)
            return None
        return None if frame is None else packets.told(frame)

    def _stir(self) -> None:
        self._news.unpark_all()

    # --- one line at a time -------------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """The protocol allows one poll and one post at a time: with two nobody could tell the order of their packets."""
        if what in self._busy:
            self.end(BROKEN)
            raise BadPacket(f"two {what} at the same time")
        self._busy.add(what)
        try:
            yield
        finally:
            self._busy.discard(what)

    @contextmanager
    def upgrading(self) -> Iterator[None]:
        """A WebSocket tries to take over, for so long; polls go on meanwhile, and after it if it does not come to that.

        Raises `BadPacket` when the session has a WebSocket, or another one tries already.
        """
        if not self.polling or self._upgrade is not None:
            raise BadPacket("this session has a WebSocket already")
        with trio.move_on_after(UPGRADE_SECONDS) as scope:
            self._upgrade = scope
            try:
                yield
            finally:
                self._upgrade, self._probed = None, False

    def probed(self) -> None:
        """The WebSocket works: polls are answered at once from now on, for the client to stop them."""
        self._probed = True
        self._stir()

    def upgrade(self) -> None:
        """The WebSocket has taken over."""
        self.polling = False
        self._stir()
