"""One owner of job tasks: a nursery, a cancel scope per job, and the order in which an end comes about.

A job's life is one task. It waits for its turn, works, and commits; a user's cancel cancels its scope. Who wins is decided
in the registry, in one synchronous step:

* A cancel: decision, gate shut, scope cancelled. The task unwinds and its file goes; then the journal row, then the event,
  then the answer. A second task (`_conclude_cancel`) does this, since the first may take longer than the caller may wait.
* A commit: `COMMIT POINT` in `_commit`. From the decision on it is shielded: rename, journal row, event.
* An error: one `except Exception`, at the edge of the task.

Why no job can complete after a cancel: both are offers to the same row of the transition table under one lock, and a row
that has taken one has no entry for the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
import trio

from exportd.core import events
from exportd.core.job import SYSTEM, Job, Transition
from exportd.core.registry import Key, Registry
from exportd.core.states import Event, Reason, State
from exportd.formats.naming import safe_file_name
from exportd.jobs.failures import diagnose
from exportd.jobs.hub import Hub
from exportd.jobs.ledger import Ledger
from exportd.jobs.queue import FairQueue
from exportd.jobs.reporter import Reporter
from exportd.jobs.runner import Produced, Runner
from exportd.jobs.telemetry import Telemetry
from exportd.settings import Settings
from exportd.store.artifacts import Artifacts, Staged
from exportd.store.journal import AddRow, SaveJob

log = structlog.get_logger("exportd.jobs")

CLEANUP_DEADLINE = 60.0
"""Seconds that the removal of a file, and again letting go of it, may wait for a thread before the job's task gives up;
the next start sweeps what is left."""


@dataclass(slots=True, eq=False)
class _Life:
    """What belongs to one job while it lives. Dropped when its end is told and its task is over."""

    job_id: str
    user_id: str
    key: Key | None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    turn: trio.Event = field(default_factory=trio.Event)
    recorded: trio.Event = field(default_factory=trio.Event)
    unwound: trio.Event = field(default_factory=trio.Event)
    concluded: trio.Event = field(default_factory=trio.Event)
    record_error: Exception | None = None
    missed: list[Transition] = field(default_factory=list)
    """Transitions that were made and could not be written; they go with the next one, so that the trail has no hole."""
    running: bool = False
    left: bool = False
    """Whether a file of it could not be removed."""
    since: float = field(default_factory=trio.current_time)
    """When the state that it shows began."""
    decided: float | None = None
    """When its cancel was decided."""


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """Counts of this moment."""

    running: int
    queued: int


class Supervisor:
    """Runs jobs. Made by `open_supervisor`."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        hub: Hub,
        ledger: Ledger,
        artifacts: Artifacts,
        runner: Runner,
        telemetry: Telemetry,
        may_export: Callable[[Job], Awaitable[bool]],
        now: Callable[[], datetime],
        nursery: trio.Nursery,
    ) -> None:
        self._settings = settings
        self._registry, self._hub, self._ledger = registry, hub, ledger
        self._artifacts, self._runner, self._telemetry = artifacts, runner, telemetry
        self._may_export, self._now = may_export, now
        self._nursery = nursery
        self._lives: dict[str, _Life] = {}
        self._queue = FairQueue()
        self._running = 0
        self._idle = trio.Event()
        self.cut = 0
        """Jobs that a shutdown has cancelled."""

    # --- from outside ------------------------------------------------------------------------------------------------

    def submit(self, job: Job, key: Key | None = None) -> None:
        """Gives an admitted job its task. `wait_recorded` tells when it is written down."""
        life = self._lives[job.id] = _Life(job.id, job.user.id, key)
        self._queue.put(life.user_id, life.job_id)
        self._nursery.start_soon(self._live, life, name=f"export {job.id}")
        self._dispatch()

    async def wait_recorded(self, job_id: str) -> None:
        """Returns when the submission is on the disk; raises what kept it from there. A cancel changes nothing."""
        life = self._lives.get(job_id)
        if life is not None:
            await life.recorded.wait()
            if life.record_error is not None:
                raise life.record_error

    def cancel_nowait(self, job_id: str, *, by: str, reason: Reason, actor: str = SYSTEM) -> bool:
        """Decides a cancel, if it can still be decided: from then on no event leaves but `export:cancelled`.

        False when the job's end was decided before, whichever it is. `wait_concluded` waits for the outcome.
        """
        at = self._now()
        job, decided = self._registry.offer(
            job_id, Event.CANCEL, cancelled_at=at, cancelled_by=by, reason=reason, actor=actor
        )
        if decided:
            self._hub.shut(job)
            life = self._lives[job_id]
            life.decided = trio.current_time()
            life.scope.cancel(reason=f"{reason} by {actor}")
            self._nursery.start_soon(self._conclude_cancel, life, name=f"cancel {job_id}")
        return decided

    async def wait_concluded(self, job_id: str) -> Job:
        """The job once its end is decided, done and written down. A cancel of the waiting changes nothing."""
        life = self._lives.get(job_id)
        if life is not None:
            await life.concluded.wait()
        return self._registry.get(job_id)

    def position(self, job: Job) -> int | None:
        """The job's place in the queue, 1 for the next; None when it does not wait."""
        return self._queue.position(job.user.id, job.id)

    def statistics(self) -> SupervisorStatistics:
        return SupervisorStatistics(self._running, len(self._queue))

    async def drain(self, patience: float) -> None:
        """Ends all jobs: those that wait at once, those that run when `patience` (seconds) is over.

        A cancel cuts the patience short; every job has ended when this returns.
        """
        for life in list(self._lives.values()):
            if not life.running:
                self._shut_down(life)
        try:
            with trio.move_on_after(patience):
                await self._wait_idle()
        finally:
            for life in list(self._lives.values()):
                self._shut_down(life)
            with (
                trio.CancelScope(shield=True),
                trio.move_on_after(self._settings.cleanup_timeout + 2 * CLEANUP_DEADLINE),
            ):
                await self._wait_idle()

    def _shut_down(self, life: _Life) -> None:
        self.cut += self.cancel_nowait(life.job_id, by="system", reason=Reason.SHUTDOWN)

    async def _wait_idle(self) -> None:
        while self._lives:
            self._idle = trio.Event()
            await self._idle.wait()

    # --- a job's life ----------------------------------------------------------------------------------------------

    async def _live(self, life: _Life) -> None:
        error: Exception | None = None
        try:
            with life.scope:
                await self._record(life)
                await life.turn.wait()
                await self._work(life)
        except Exception as caught:  # noqa: BLE001 - the one place where an error becomes `failed`
            error = caught
        finally:
            life.recorded.set()
            life.unwound.set()  # nothing of the job works any more, and its file is gone or published, or `life.left` says so
            with trio.CancelScope(shield=True):
                await self._settle(life, error)
                await life.concluded.wait()
            self._leave(life)

    async def _record(self, life: _Life) -> None:
        """Writes the submission down."""
        job = self._registry.get(life.job_id)
        row = Transition(job.id, None, job.status, Reason.SUBMITTED, job.user.id, job.created_at)
        try:
            await self._save(life, replace(job, state=State.PENDING), row)
        except Exception as error:
            life.record_error = error
            raise
        life.recorded.set()
        self._telemetry.transition(job, None)

    async def _work(self, life: _Life) -> None:
        job = self._registry.get(life.job_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        before = job.status
        job = self._registry.apply(
            life.job_id, Event.START, started_at=self._now(), reason=Reason.STARTED, actor=SYSTEM
        )
        # First: a cancel may end the waiting for the row, and the row is written all the same.
        self._observe(job, before)
        await self._save(life, job, self._row(job, before))
        self._hub.publish(events.started(job), job)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._time_out, job.id, name=f"deadline {job.id}")
            reporter = Reporter(job.id, self._registry, self._hub, self._now)
            async with self._staged(life) as staged:
                produced = await self._runner.produce(job, staged, reporter)
                await self._commit(job, staged, produced)
            nursery.cancel_scope.cancel(reason="the export has ended")

    async def _time_out(self, job_id: str) -> None:
        await trio.sleep(self._settings.job_timeout)
        self.cancel_nowait(job_id, by="timeout", reason=Reason.TIMEOUT)

    @asynccontextmanager
    async def _staged(self, life: _Life) -> AsyncIterator[Staged]:
        """A staging file that is gone, whatever ends the block, unless it was committed."""
        staged = await trio.to_thread.run_sync(self._artifacts.stage, life.job_id)
        keep = False
        try:
            yield staged
            keep = self._registry.get(life.job_id).state is State.COMPLETED
        finally:
            with trio.CancelScope(shield=True):
                if not keep:
                    with trio.move_on_after(CLEANUP_DEADLINE) as deadline:
                        await self._unlink(life, staged)
                    life.left |= deadline.cancelled_caught
                with trio.move_on_after(CLEANUP_DEADLINE):  # its own: a slow removal must not leave the file open
                    await self._close(life, staged)

    async def _unlink(self, life: _Life, staged: Staged) -> None:
        try:
            await trio.to_thread.run_sync(staged.unlink)
        except OSError as error:  # the job ends as it would; the next sweep takes what is left
            life.left = True
            log.error("cleanup_failed", job=life.job_id, error=repr(error))

    async def _close(self, life: _Life, staged: Staged) -> None:
        """Lets go of the descriptors before any end without archive is told: until then the kernel keeps the room."""
        try:
            await trio.to_thread.run_sync(staged.close)
        except OSError as error:  # nothing hangs on it: the archive was flushed before, or has no name any more
            log.error("close_failed", job=life.job_id, error=repr(error))

    async def _commit(self, job: Job, staged: Staged, produced: Produced) -> None:
        """Publishes the archive, or does nothing because a cancel was first.

        What is raised after the decision makes the job a failed one; nothing of the result was shown by then.
        """
        if not await self._may_export(job):
            self.cancel_nowait(job.id, by="system", reason=Reason.ACCESS_REVOKED)
        # COMMIT POINT. A cancel that is decided by now is seen here; one that comes later finds COMMITTING, for which the
        # table has no cancel. There is no checkpoint between these two lines, and there must be none.
        await trio.lowlevel.checkpoint_if_cancelled()
        job = self._registry.apply(job.id, Event.COMMIT)
        changes = self._result(job, produced)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(staged.publish)
            done = self._registry.preview(job.id, Event.COMMITTED, **changes)
            row = self._row(done, job.status)
            await self._ledger.write(SaveJob(done, row))
            self._tell(row, Event.COMMITTED, changes)

    def _result(self, job: Job, produced: Produced) -> dict[str, Any]:
        at = self._now()
        return {
            "completed_at": at,
            "expires_at": at + timedelta(seconds=self._settings.archive_ttl),
            "file_name": safe_file_name(job.project_name, ".zip"),
            "file_size": produced.size,
            "sha256": produced.sha256,
            "total_images": produced.images,
            "warnings": produced.warnings,
            "progress": replace(job.progress, percent=100, remaining=0.0, message="Completed"),
            "reason": Reason.COMMITTED,
            "actor": SYSTEM,
            "terminal_seq": self._hub.next_seq(job.id),
        }

    async def _settle(self, life: _Life, error: Exception | None) -> None:
        """What is left to do when the task has unwound and nobody else has decided the job's end."""
        if self._registry.find(life.job_id) is None:  # its end was told, and it was deleted before its task was over
            life.concluded.set()
            return
        if error is None:
            # Only a nursery that was torn down from outside ends a task that neither committed nor was cancelled.
            self._shut_down(life)
            if self._registry.get(life.job_id).state is State.COMPLETED:
                life.concluded.set()
            return
        if life.record_error is not None and self._registry.withdraw(life.job_id):
            self._hub.forget(life.job_id)  # its start raises: there never was such a job
            life.concluded.set()
            return
        failure = diagnose(error)
        job, decided = self._registry.offer(
            life.job_id,
            Event.FAIL,
            failed_at=self._now(),
            error=failure.sentence,
            error_code=failure.code,
            retryable=failure.retryable,
            reason=failure.reason,
            actor=SYSTEM,
        )
        if not decided:
            log.error("error_after_the_end", job=job.id, state=job.state.value, exc_info=error)
            if job.is_final:  # told already; a cancel that is under way is told by its own task
                life.concluded.set()
            return
        if not failure.expected:
            log.error("export_failed", job=job.id, exc_info=error)
        await self._conclude(life, job, Event.FAIL_DONE)
        life.concluded.set()

    async def _conclude_cancel(self, life: _Life) -> None:
        """Waits until the job's task has unwound, no longer than the clean-up deadline, and tells the end."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(self._settings.cleanup_timeout) as deadline:
                await life.unwound.wait()
            if deadline.cancelled_caught:
                log.warning("cleanup_takes_long", job=life.job_id)
            job = self._registry.get(life.job_id)
            clean = life.unwound.is_set() and not life.left
            await self._conclude(life, job, Event.CANCEL_DONE, cleanup_completed=clean)
        life.concluded.set()

    async def _conclude(self, life: _Life, job: Job, event: Event, **changes: Any) -> None:
        """Writes an end without archive down, then shows it, then tells it.

        A journal that cannot be written is waited for no longer than a clean-up; then the end is told even so, a cancel as
        not cleaned up, and the ledger goes on trying: a crash before it succeeds makes the job a failed one.
        """
        changes["terminal_seq"] = self._hub.next_seq(job.id)
        ended = self._registry.preview(job.id, event, **changes)
        row = self._row(ended, job.status)
        with trio.move_on_after(self._settings.cleanup_timeout) as deadline:
            await self._ledger.insist(*map(AddRow, life.missed), SaveJob(ended, row))
        if deadline.cancelled_caught:
            log.error("end_not_recorded_in_time", job=job.id)
            changes |= {"cleanup_completed": False} if event is Event.CANCEL_DONE else {}
        self._tell(row, event, changes)

    def _tell(self, row: Transition, event: Event, changes: dict[str, Any]) -> None:
        final = self._registry.apply(row.job_id, event, **changes)
        self._hub.publish(events.terminal(final), final)
        self._observe(final, row.before)

    def _observe(self, job: Job, before: str | None) -> None:
        life, now = self._lives[job.id], trio.current_time()
        unwinding = None if life.decided is None else now - life.decided
        self._telemetry.transition(job, before, now - life.since, unwinding=unwinding)
        life.since = now

    async def _save(self, life: _Life, job: Job, row: Transition) -> None:
        """Writes down what has been shown already. Shielded: a cancel that comes now has a row to follow."""
        with trio.CancelScope(shield=True):
            try:
                await self._ledger.write(SaveJob(job, row, life.key if row.before is None else None))
            except Exception:
                life.missed.append(row)
                raise

    def _row(self, job: Job, before: str) -> Transition:
        at = {Reason.STARTED: job.started_at, Reason.COMMITTED: job.completed_at}.get(job.reason)
        at = at or job.cancelled_at or job.failed_at or self._now()
        return Transition(job.id, before, job.status, job.reason, job.actor, at)

    # --- the queue -----------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._running < self._settings.max_running_jobs and (job_id := self._queue.take()) is not None:
            life = self._lives[job_id]
            life.running = True
            self._running += 1
            life.turn.set()

    def _leave(self, life: _Life) -> None:
        """The task is over: only now its place is free."""
        self._queue.discard(life.user_id, life.job_id)
        self._running -= life.running
        del self._lives[life.job_id]
        self._dispatch()
        self._idle.set()


@asynccontextmanager
async def open_supervisor(
    settings: Settings,
    registry: Registry,
    hub: Hub,
    ledger: Ledger,
    artifacts: Artifacts,
    runner: Runner,
    telemetry: Telemetry,
    may_export: Callable[[Job], Awaitable[bool]],
    now: Callable[[], datetime],
) -> AsyncIterator[Supervisor]:
    """A supervisor; leaving the block ends all jobs at once (cancelled by `system`), and waits for them."""
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(settings, registry, hub, ledger, artifacts, runner, telemetry, may_export, now, nursery)
        try:
            yield supervisor
        finally:
            # Longer than all that `drain` waits for: it ends by itself, whatever hangs.
            with trio.CancelScope(shield=True), trio.move_on_after(settings.cleanup_timeout + 3 * CLEANUP_DEADLINE):
                await supervisor.drain(0)
