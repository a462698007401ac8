"""Turns of the event loop: of many who have something to do at the same time, so many in a round.

Who waits sleeps in a `ParkingLot` of their own. What they wait for does not wake them: it moves them into the one queue, and
so many of it are woken in a round. So each wakes once for what it does, and all else in the event loop waits for the work of
so many, however many there are.
"""

from __future__ import annotations

import trio
from trio.lowlevel import ParkingLot, Task


class Turns:
    """The queue. Nothing is held when a turn has come: who does not finish what they do in it holds up nobody."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        """Turns that can still be had in this round; none while somebody queues."""
        self._queue = ParkingLot()
        self._woken: set[Task] = set()
        """Those whose turn it is and who have not run yet."""

    def call(self, lot: ParkingLot) -> None:
        """Whoever sleeps in the lot wakes when it is their turn."""
        lot.repark_all(self._queue)
        self._wake()

    async def sleep(self, lot: ParkingLot) -> None:
        """Until one is called there and it is one's turn, or until one is woken there. A cancel leaves nothing behind."""
        try:
            await lot.park()
        finally:
            if (me := trio.lowlevel.current_task()) in self._woken:
                self._woken.discard(me)
                self._give_back()

    async def wait(self) -> None:
        """Until it is one's turn. A cancel leaves nothing behind."""
        if not self._free:
            await self.sleep(self._queue)
            return
        self._free -= 1
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self._free += 1
        self._wake()

    def _wake(self) -> None:
        if self._free and self._queue:
            woken = self._queue.unpark(count=self._free)
            self._free -= len(woken)
            self._woken.update(woken)
