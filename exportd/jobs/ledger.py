"""The journal's one writer: changes of all jobs that wait at the same time go to the disk in one commit.

Why waiting for it cannot be lost: the writer runs shielded until the block is left, and the block is left only when all
who might wait have ended. What has happened whether or not it can be written (a job's end that was told) is insisted on:
a disk that is full for a minute must not make a cancelled export a failed one after the next start.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
import trio

from exportd.core.job import Transition
from exportd.store.journal import AddRow, Change, ForgetJob, Journal, SaveJob

log = structlog.get_logger("exportd.ledger")
T = TypeVar("T")


RETRY = 0.5
"""Seconds until what was insisted on is tried again."""


class _Ticket:
    """Changes that wait to be written, and what became of them."""

    def __init__(self, changes: tuple[Change, ...], *, insists: bool) -> None:
        self.changes = changes
        self.insists = insists
        self.jobs = frozenset(_jobs(changes))
        self.settled = trio.Event()
        self.error: Exception | None = None


class Ledger:
    """Writes to the journal from many tasks, and reads from it, one thread at a time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[_Ticket] = []
        self._owed: list[_Ticket] = []
        self._wake = trio.Event()
        self._closing = False
        self._failing = False
        self._one = trio.CapacityLimiter(1)

    @property
    def owes(self) -> int:
        """Changes that were insisted on and could not be written yet."""
        return sum(len(ticket.changes) for ticket in self._owed)

    async def write(self, *changes: Change) -> None:
        """Returns when the changes are on the disk; raises what the journal raised, and then nothing was written.

        A cancel leaves the changes in the queue: they will be written. With no changes it waits for those before it.
        """
        ticket = self._queue(changes, insists=False)
        await ticket.settled.wait()
        if ticket.error is not None:
            raise ticket.error

    async def insist(self, *changes: Change) -> None:
        """Returns when the changes are on the disk, however often that has to be tried.

        A cancel ends the waiting alone: they are tried until they are written, at the end of the ledger for the last time.
        """
        await self._queue(changes, insists=True).settled.wait()

    def _queue(self, changes: tuple[Change, ...], *, insists: bool) -> _Ticket:
        ticket = _Ticket(changes, insists=insists)
        self._waiting.append(ticket)
        self._wake.set()
        return ticket

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
                    with trio.move_on_after(RETRY if self._owed else math.inf):
                        await self._wake.wait()
                await self._write()
            await self._write()
        for ticket in self._owed:
            log.error("never_recorded", jobs=sorted(ticket.jobs))

    async def _write(self) -> None:
        """All that waits in one commit, what is owed first; or one after the other, when that does not work."""
        tickets, self._waiting = self._owed + self._waiting, []
        if len(tickets) > 1 and await self._commit(tickets) is None:
            self._owed = []
            return
        # One that cannot be written must not take the others with it; but for later changes of the same job, which would
        # be undone by it.
        owed: list[_Ticket] = []
        errors: dict[str, Exception] = {}
        for ticket in tickets:
            error = next((errors[job] for job in ticket.jobs if job in errors), None) or await self._commit([ticket])
            if error is not None and not self._told(ticket, error):
                owed.append(ticket)
                errors |= dict.fromkeys(ticket.jobs, error)
        self._owed = owed

    async def _commit(self, tickets: list[_Ticket]) -> Exception | None:
        changes = [change for ticket in tickets for change in ticket.changes]
        try:
            if changes:
                await self._run(self._journal.commit, changes)
                self._failing = False
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits
            return error
        for ticket in tickets:
            ticket.settled.set()
        return None

    def _told(self, ticket: _Ticket, error: Exception) -> bool:
        """Tells whoever waits that it was not written; False for what is tried again."""
        if ticket.error is None:  # logged once, however often it is tried
            log.error("journal_write_failed", error=repr(error))
        self._failing = True
        ticket.error = error
        if not ticket.insists:
            ticket.settled.set()
        return not ticket.insists

    def _close(self) -> None:
        self._closing = True
        self._wake.set()


def _jobs(changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        match change:
            case SaveJob(job):
                yield job.id
            case AddRow(row):
                yield row.job_id
            case ForgetJob(job_id):
                yield job_id


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
