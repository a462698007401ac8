"""What time takes away: archives expire, then records and audit rows go; orphans are swept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
import trio

from exportd.core.job import Job
from exportd.core.registry import Registry
from exportd.core.states import State
from exportd.errors import NotFound
from exportd.jobs.hub import Hub
from exportd.jobs.ledger import Ledger
from exportd.settings import Settings
from exportd.store.artifacts import Artifacts, Wanted
from exportd.store.journal import ForgetJob, Purge, SaveJob

log = structlog.get_logger("exportd.retention")

SWEEP_INTERVAL = 3600.0
"""Seconds between two sweeps; an archive that expires sooner is removed when it does."""

KEY_TTL = timedelta(hours=24)
"""How long an Idempotency-Key is remembered."""

INTERRUPTED_SEQ_GAP = 1_000_000
"""Added to `seq` for the terminal event of a job that a crash has interrupted: how many progress events it had sent is not
known, and this is more than it can have sent (ten a second for a day), so no reader sees a step back."""


class Retention:
    """Expires and sweeps."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        hub: Hub,
        ledger: Ledger,
        artifacts: Artifacts,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._registry, self._hub, self._ledger, self._artifacts = registry, hub, ledger, artifacts
        self._now = now
        self._leaving: set[str] = set()

    async def run(self) -> None:
        """Until cancelled. An error is logged and met again at the next round."""
        while True:
            try:
                await self.round()
            except Exception:
                log.exception("retention_failed")
            await trio.sleep(self._pause())

    async def round(self) -> None:
        """One look at everything. A cancel leaves the rest for the next round."""
        now = self._now()
        for job in self._registry.all():
            if job.expires_at is not None and job.expires_at <= now:
                await self.expire(job.id)
            if job.is_final and (ended_at(job) or now) <= now - timedelta(seconds=self._settings.record_ttl):
                with suppress(NotFound):  # its user was quicker
                    await self.forget(job.id)
        self._registry.forget_keys(now - KEY_TTL)
        await self._ledger.write(Purge(now - timedelta(seconds=self._settings.record_ttl), now - KEY_TTL))
        await self._sweep()

    async def expire(self, job_id: str) -> None:
        """Takes a completed job's archive away: nobody can open it from the first step on; who has it open reads on."""
        if job_id in self._leaving:
            return  # its record is being removed, and must not be written anew
        job = self._registry.expire(job_id, self._now())
        if job is not None:
            with trio.CancelScope(shield=True):
                # A disk so full that this cannot be written needs the room of the archive all the more.
                with trio.move_on_after(self._settings.cleanup_timeout):
                    await self._ledger.insist(SaveJob(job))
                await self._remove(job_id)
            log.info("expired", job=job_id)

    async def forget(self, job_id: str) -> None:
        """Removes record and archive of a job that has ended; its audit rows stay. Raises `ExportActive`, `NotFound`, and
        what the journal raises; then nothing was changed.

        The record goes first: a crash between the two leaves an orphan archive, which the next start sweeps.
        """
        self._registry.check_ended(job_id)
        self._leaving.add(job_id)
        try:
            with trio.CancelScope(shield=True):
                await self._ledger.write(ForgetJob(job_id))
                self._registry.remove(job_id)
                self._hub.forget(job_id)
                await self._remove(job_id)
        finally:
            self._leaving.discard(job_id)
        log.info("forgotten", job=job_id)

    async def _remove(self, job_id: str) -> None:
        try:
            await trio.to_thread.run_sync(self._artifacts.remove, job_id)
        except OSError as error:  # nobody can open it any more; the next sweep takes it
            log.error("archive_not_removed", job=job_id, error=repr(error))

    def _pause(self) -> float:
        """Seconds to the next round. No longer than an archive is kept: one that is completed meanwhile expires no sooner."""
        now = self._now()
        coming = [
            (job.expires_at - now).total_seconds()
            for job in self._registry.all()
            if job.expires_at is not None and has_archive(job)
        ]
        return max(0.05, min([SWEEP_INTERVAL, self._settings.archive_ttl, *coming]))

    async def _sweep(self) -> None:
        """Removes files that belong to nobody."""
        swept = await trio.to_thread.run_sync(self._artifacts.sweep, self._wanted)
        if swept.removed:
            log.warning("orphans_removed", count=len(swept.removed), first=swept.removed[0])
        if swept.stuck:
            log.error("orphans_not_removed", count=len(swept.stuck), first=swept.stuck[0])

    def _wanted(self) -> Wanted:
        """A job that is just being made keeps both of its names. For the thread that sweeps."""
        jobs = self._registry.all()
        active = {job.id for job in jobs if not job.is_final}
        return Wanted(active | {job.id for job in jobs if has_archive(job)}, active)


def has_archive(job: Job) -> bool:
    """Whether the job's archive can be downloaded."""
    return job.state is State.COMPLETED and job.expired_at is None


def ended_at(job: Job) -> datetime | None:
    """When the job ended, however it did."""
    return job.completed_at if job.state is State.COMPLETED else job.cancelled_at or job.failed_at
