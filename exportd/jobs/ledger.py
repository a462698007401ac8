"""The journal's one writer: changes of all jobs that wait at the same time go to the disk in one commit.

Why waiting for it cannot be lost: the writer runs shielded until the block is left, and the block is left only when all
who might wait have ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
import trio

from exportd.core.job import Transition
from exportd.store.journal import Change, Journal

log = structlog.get_logger("exportd.ledger")
T = TypeVar("T")


class _Ticket:
    """Changes that wait to be written, and what became of them."""

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self.changes = changes
        self.settled = trio.Event()
        self.error: Exception | None = None


class Ledger:
    """Writes to the journal from many tasks, and reads from it, one thread at a time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[_Ticket] = []
        self._wake = trio.Event()
        self._closing = False
        self._failing = False
        self._one = trio.CapacityLimiter(1)

    async def write(self, *changes: Change) -> None:
        """Returns when the changes are on the disk; raises what the journal raised, and then nothing was written.

        A cancel leaves the changes in the queue: they will be written. With no changes it waits for those before it.
        """
        ticket = _Ticket(changes)
        self._waiting.append(ticket)
        self._wake.set()
        await ticket.settled.wait()
        if ticket.error is not None:
            raise ticket.error

    async def audit(self, job_id: str) -> list[Transition]:
        """The transitions of a job, oldest first."""
        return await self._run(self._journal.audit, job_id)

    async def check(self) -> None:
        """Raises `DataDirectoryUnusable` when nothing can be written. Writes only to see whether a commit that failed was
        the last one to."""
        if self._failing:
            await self._run(self._journal.touch)
            self._failing = False

    async def _run(self, call: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(call, *args, limiter=self._one)

    async def _serve(self) -> None:
        with trio.CancelScope(shield=True):
            while not self._closing or self._waiting:
                if not self._waiting:
                    self._wake = trio.Event()
                    await self._wake.wait()
                    continue
                tickets, self._waiting = self._waiting, []
                await self._commit(tickets)

    async def _commit(self, tickets: list[_Ticket]) -> None:
        changes = [change for ticket in tickets for change in ticket.changes]
        try:
            if changes:
                await self._run(self._journal.commit, changes)
                self._failing = False
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits
            if len(tickets) > 1:  # one that cannot be written must not take the others with it
                for ticket in tickets:
                    await self._commit([ticket])
                return
            log.error("journal_write_failed", error=repr(error))
            self._failing = True
            tickets[0].error = error
        for ticket in tickets:
            ticket.settled.set()

    def _close(self) -> None:
        self._closing = True
        self._wake.set()


@asynccontextmanager
async def open_ledger(journal: Journal) -> AsyncIterator[Ledger]:
    """A ledger that writes until the block is left; what waits then is still written."""
    ledger = Ledger(journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger._serve, name="journal")
        try:
            yield ledger
        finally:
            ledger._close()
