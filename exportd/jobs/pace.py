"""Whoever waits for a cancel goes first: the threads of all exports stand still meanwhile.

Python's interpreter lock has no priorities. A cancel takes it some twenty times, in the event loop and in short threads,
and would queue each time behind threads that compute for other exports. So these stand still at their looks while a
cancel is on its way, for a bounded share of the time: a stream of cancels slows exports down, and never stops them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import trio

STANDSTILL = 0.05
"""Seconds that threads stand still for at most, and then not again for `INTERVAL`."""

INTERVAL = 0.25
"""Seconds from the begin of one standstill to the next: exports lose a fifth of their time at most."""

POLL = 0.002
"""Seconds after which a thread that stands still looks whether it is its own export that is cancelled."""


class Pace:
    """When threads of exports may go on. One for all jobs."""

    def __init__(self) -> None:
        self._free = Event()
        self._free.set()
        self._hurrying: set[object] = set()
        """Those whom the latest standstill is for."""
        self._until = self._next = time.monotonic()

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Threads stand still while the block lasts, if they have not just done so. Of the event loop's thread.

        Who stays longer than a standstill, as a client does that does not take its answer, has no part in the next one.
        """
        if (now := time.monotonic()) >= self._next:
            self._until, self._next = now + STANDSTILL, now + INTERVAL
            self._hurrying = set()
            self._free.clear()
        me = object()
        self._hurrying.add(me)
        try:
            yield
        finally:
            self._hurrying.discard(me)
            if not self._hurrying:
                self._free.set()

    def look(self) -> None:
        """For worker threads of trio, between two pieces of work: raises `trio.Cancelled` when the export is cancelled,
        and waits while somebody is in a hurry."""
        trio.from_thread.check_cancelled()
        while not self._free.is_set() and time.monotonic() < self._until:
            self._free.wait(POLL)
            trio.from_thread.check_cancelled()
