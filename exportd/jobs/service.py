"""The daemon minus HTTP: what a user may ask for, and who may ask it.

Access is looked up in the catalogue at every call. What a caller may not see raises the same error as what does not
exist.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime

import orjson
import trio

from exportd.core.job import Job, wire_time
from exportd.core.options import ExportOptions, StartRequest
from exportd.core.registry import Key, Registry
from exportd.core.states import Reason, State
from exportd.core.users import Access, User
from exportd.errors import (
    MAX_PROBLEMS,
    DataDirectoryUnusable,
    ExportActive,
    ExportCompleted,
    InsufficientSpace,
    InvalidRequest,
    NotAllowed,
    NotFound,
    Problem,
    ProjectForbidden,
    ShuttingDown,
    SourceUnavailable,
)
from exportd.formats.table import unmet
from exportd.jobs.accesses import Accesses
from exportd.jobs.downloads import Download, check_archive, no_archive
from exportd.jobs.estimate import Estimate
from exportd.jobs.gallery import Gallery, Known, Page, Picture, Wanted
from exportd.jobs.hub import Feed, Hub
from exportd.jobs.ledger import Ledger, open_ledger
from exportd.jobs.pace import Pace
from exportd.jobs.readiness import Checks, Readiness
from exportd.jobs.recovery import recover
from exportd.jobs.retention import Retention, has_archive
from exportd.jobs.runner import Runner
from exportd.jobs.supervisor import Supervisor, open_supervisor
from exportd.jobs.telemetry import Statistics, Telemetry
from exportd.settings import Settings
from exportd.store.artifacts import Artifacts, DataLock
from exportd.store.catalogue import Catalogue, open_catalogue
from exportd.store.journal import Journal
from exportd.store.sources import Uploads

CATALOGUE_PATIENCE = 1.0
"""Seconds that the cancel of one's own export waits to hear whether one still has access."""

LISTED = 200
"""Jobs that `exports` lists, the newest."""


class Service:
    """Everything that can be asked of exportd. Made by `open_service`."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        registry: Registry,
        hub: Hub,
        ledger: Ledger,
        artifacts: Artifacts,
        supervisor: Supervisor,
        retention: Retention,
        telemetry: Telemetry,
        pace: Pace,
        gallery: Gallery,
        now: Callable[[], datetime],
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self._ends: float | None = None
        self._registry, self._hub, self._ledger, self._artifacts = registry, hub, ledger, artifacts
        self._supervisor, self._retention, self._pace, self._now = supervisor, retention, pace, now
        self._gallery, self._accesses = gallery, Accesses(catalogue)
        self._telemetry, self._readiness = telemetry, Readiness(catalogue, ledger, artifacts)

    # --- exports ---------------------------------------------------------------------------------------------------

    async def start(
        self, user: User, project_id: str, request: StartRequest, idempotency_key: str | None = None
    ) -> Job:
        """Admits a job; it is written down when this returns. A cancel of the call may leave the job started.

        Raises `ProjectForbidden`, `InvalidRequest`, `IdempotencyMismatch`, `TooManyActive`, `QueueFull`, `ShuttingDown`,
        `InsufficientSpace`.
        """
        await self._enter(user, project_id)
        key = self._key(user, project_id, request, idempotency_key)
        if key is not None and (known := self._registry.retry(key)) is not None:
            await self._supervisor.wait_recorded(known.id)
            return known
        estimate = await self._estimate(project_id, request.options)
        job = await self._new_job(user, project_id, request, estimate)
        room = await self._room()
        # From here to the task there is no checkpoint: no other start can pass the caps or take the room meanwhile, and
        # nothing is taken in that a drain has not seen.
        if (refusal := self.refusal()) is not None:
            raise refusal
        job, fresh = self._registry.admit(job, key, room)
        if fresh:
            self._supervisor.submit(job, key)
        await self._supervisor.wait_recorded(job.id)
        return job

    async def estimate(self, user: User, project_id: str, request: StartRequest) -> Estimate:
        """What `start` would make, without starting it. Raises as `start` does for a bad request."""
        await self._enter(user, project_id)
        estimate = await self._estimate(project_id, request.options)
        self._registry.check_room(estimate.bytes, await self._room())
        return estimate

    async def status(self, user: User, project_id: str, job_id: str) -> dict[str, object]:
        """The job object. Raises `NotFound`."""
        return self._wire(await self._see(user, project_id, job_id))

    async def cancel(self, user: User, project_id: str, job_id: str) -> tuple[Job, bool]:
        """Cancels, waits until all of the job is gone and its watchers know, and gives it with whether this call decided it.

        Raises `NotFound`, `NotAllowed`, `ExportCompleted`, `ExportFailed`. A cancel of the waiting does not take the
        user's cancel back.
        """
        await self._check_cancel(user, project_id, job_id)
        decided = self._supervisor.cancel_nowait(job_id, by="user", reason=Reason.USER_CANCELLATION, actor=user.id)
        job = await self._supervisor.wait_concluded(job_id)
        if job.state is State.COMPLETED:
            at = wire_time(job.completed_at)
            raise ExportCompleted("The export is completed already.", job.id, job.status, completedAt=at)
        if job.state is not State.CANCELLED:
            raise no_archive(job)
        await self._hub.wait_told(job.user.id)
        return job, decided

    def hurry(self) -> AbstractContextManager[None]:
        """Within it the threads of exports stand still, for a bounded share of the time: for a cancel, until its answer
        is sent."""
        return self._pace.hurry()

    async def open_download(self, user: User, project_id: str, job_id: str) -> Download:
        """The archive, open. Raises `NotFound` and what `no_archive` makes of a job without one."""
        await self._see(user, project_id, job_id)
        return self._registry.reading(job_id, self._open)

    async def check_download(self, user: User, project_id: str, job_id: str) -> Job:
        """The job, if its archive can be downloaded. Raises as `open_download`."""
        job = await self._see(user, project_id, job_id)
        check_archive(job, self._now())
        return job

    async def delete(self, user: User, project_id: str, job_id: str) -> None:
        """Removes record and archive. Raises `NotFound`, `NotAllowed`, `ExportActive`."""
        job = await self._own(user, project_id, job_id)
        if not job.is_final:
            raise ExportActive("The export is still active; cancel it first.", job.id, job.status)
        await self._retention.forget(job_id)

    async def history(self, user: User, project_id: str, limit: int) -> list[dict[str, object]]:
        """The project's jobs, newest first. Raises `NotFound`."""
        if await self._access(user, project_id) is None:
            raise NotFound("project")
        return [self._wire(job) for job in self._registry.of_project(project_id, limit)]

    async def audit(self, user: User, project_id: str, job_id: str) -> list[dict[str, object]]:
        """The job's transitions, oldest first. Raises `NotFound`."""
        await self._see(user, project_id, job_id)
        return [row.as_wire() for row in await self._ledger.audit(job_id)]

    async def images(self, user: User, project_id: str, wanted: Wanted) -> Page:
        """Images of the project, to choose from. Raises `NotFound`."""
        if await self._access(user, project_id) is None:
            raise NotFound("project")
        return await self._gallery.page(project_id, wanted)

    async def thumbnail(self, user: User, project_id: str, image_id: str, known: Known) -> Picture:
        """A small picture of an image of the project. Raises `NotFound`, also where none can be made."""
        if await self._access(user, project_id) is None:
            raise NotFound("project")
        return await self._gallery.picture(project_id, image_id, known)

    # --- the caller's own -------------------------------------------------------------------------------------------

    async def projects(self, user: User) -> list[dict[str, object]]:
        """What the caller may export."""
        return [p.as_wire() for p in await trio.to_thread.run_sync(self.catalogue.projects, user)]

    async def exports(self, user: User) -> list[dict[str, object]]:
        """The caller's jobs over all projects that they still have access to, newest first."""
        may_see = {p.id for p in await trio.to_thread.run_sync(self.catalogue.projects, user)}
        return [self._wire(job) for job in self._registry.of_user(user.id, LISTED) if job.project_id in may_see]

    async def sees(self, user: User, project_id: str) -> bool:
        """Whether there is such a project and the user has access to it."""
        return await self._access(user, project_id) is not None

    def watch(self, user: User) -> AbstractContextManager[Feed]:
        """The events of the user's jobs."""
        return self._hub.watch(user)

    # --- the daemon's own ---------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        return self._ends is not None

    @property
    def cut(self) -> int:
        """Exports that had to be cancelled because the service ends."""
        return self._supervisor.cut

    def refusal(self) -> ShuttingDown | None:
        """Why no export can be started now, with the seconds that are left of the drain: then this daemon has ended, and
        another may be there. None while all is well."""
        if self._ends is None:
            return None
        left = max(1, math.ceil(self._ends - trio.current_time()))
        return ShuttingDown("The export service is stopping; try again when it is back.", left)

    async def statistics(self) -> Statistics:
        """Counts of this moment."""
        now = self._supervisor.statistics()
        free = await trio.to_thread.run_sync(self._artifacts.free)
        kept = [job.file_size or 0 for job in self._registry.all() if has_archive(job)]
        return Statistics(
            jobs=self._registry.counts(),
            running=now.running,
            queued=now.queued,
            watchers=self._hub.watchers,
            archives=len(kept),
            archive_bytes=sum(kept),
            free_bytes=max(0, free),
            draining=self.draining,
        )

    async def metrics(self) -> bytes:
        """Counts since the start and of this moment, in the text format of Prometheus."""
        return self._telemetry.render(await self.statistics())

    async def check(self) -> Checks:
        """Whether an export that is asked for now could be made."""
        return await self._readiness.look()

    async def drain(self, patience: float) -> None:
        """No new jobs; those that run get `patience` seconds, then they are cancelled by `system`. Ends all feeds.

        A cancel cuts the patience short.
        """
        self._ends = trio.current_time() + patience
        try:
            await self._supervisor.drain(patience)
        finally:
            self._hub.end()

    # --- how ------------------------------------------------------------------------------------------------------

    async def _access(self, user: User, project_id: str) -> Access | None:
        return await self._accesses.look(user, project_id)

    async def _enter(self, user: User, project_id: str) -> None:
        if await self._access(user, project_id) is None:
            raise ProjectForbidden

    async def _see(self, user: User, project_id: str, job_id: str) -> Job:
        """The job as it is after access was looked up. Raises `NotFound`."""
        return self._job(await self._access(user, project_id), project_id, job_id)

    def _job(self, access: Access | None, project_id: str, job_id: str) -> Job:
        if access is None:  # before anything is looked at: not even the time of the answer may tell what there is
            raise NotFound
        if (job := self._registry.get(job_id)).project_id != project_id:
            raise NotFound
        return job

    async def _own(self, user: User, project_id: str, job_id: str) -> Job:
        """Like `_see`, for what only the job's own user or the project's owner may do. Raises `NotAllowed` too."""
        access = await self._access(user, project_id)
        job = self._job(access, project_id, job_id)
        if access is not Access.OWNER and job.user.id != user.id:
            raise NotAllowed("Only who started the export, or the project's owner, may do this.")
        return job

    async def _check_cancel(self, user: User, project_id: str, job_id: str) -> None:
        """As `_own`; but whose own export it is does not wait for a catalogue that does not answer. They had access when
        they started it, and to end it takes nothing from anybody."""
        job = self._registry.find(job_id)
        own = job is not None and (job.user.id, job.project_id) == (user.id, project_id)
        with trio.move_on_after(CATALOGUE_PATIENCE if own else math.inf):
            try:
                await self._own(user, project_id, job_id)
            except SourceUnavailable:
                if not own:
                    raise

    def _wire(self, job: Job) -> dict[str, object]:
        return job.as_wire(self._supervisor.position(job))

    def _open(self, job: Job) -> Download:
        check_archive(job, self._now())
        return Download(job, self._artifacts.open(job.id))

    def _key(self, user: User, project_id: str, request: StartRequest, key: str | None) -> Key | None:
        if key is None:
            return None
        body = {"project": project_id, "request": request.model_dump(mode="json")}
        digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return Key(user.id, key, digest, self._now())

    async def _new_job(self, user: User, project_id: str, request: StartRequest, estimate: Estimate) -> Job:
        name = request.project_name
        if name is None:
            project = await trio.to_thread.run_sync(self.catalogue.project, project_id)
            if project is None:
                raise ProjectForbidden
            name = project.title
        return Job(
            id=str(uuid.uuid4()),
            project_id=project_id,
            project_name=name,
            user=user,
            options=request.options,
            created_at=self._now(),
            estimate=estimate.bytes,
        )

    async def _estimate(self, project_id: str, options: ExportOptions) -> Estimate:
        if options.selected_image_ids is not None:
            unknown = await trio.to_thread.run_sync(
                self.catalogue.unknown_images, project_id, options.selected_image_ids
            )
            if unknown:
                raise InvalidRequest(
                    [
                        Problem(f"options.selectedImageIds[{i}]", "there is no such image in the project")
                        for i in unknown[:MAX_PROBLEMS]
                    ]
                )
        project = await trio.to_thread.run_sync(self.catalogue.project, project_id)
        totals = await trio.to_thread.run_sync(self.catalogue.totals, project_id, options.selected_image_ids)
        warnings = tuple(unmet(options, project.type if project else ""))
        return Estimate.of(options, totals, warnings)

    async def _room(self) -> int:
        return await trio.to_thread.run_sync(self._artifacts.room)


def _recovered(
    settings: Settings, journal: Journal, registry: Registry, telemetry: Telemetry, now: datetime
) -> Artifacts:
    """The archives, after `recover`. Raises `DataDirectoryUnusable`."""
    try:
        artifacts = Artifacts(settings.data, settings.disk_reserve, telemetry.wrote)
        recover(journal, artifacts, registry, telemetry, now)
    except (OSError, sqlite3.Error, InsufficientSpace) as error:
        raise DataDirectoryUnusable(
            f"The data directory {settings.data} cannot be used ({getattr(error, 'strerror', None) or error}); "
            "make room there or mend its permissions, then start again."
        ) from error
    return artifacts


@asynccontextmanager
async def open_service(
    settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AsyncIterator[Service]:
    """Locks the data directory, recovers, and runs jobs until the block is left; then none of them is left either.

    Raises `DataDirectoryInUse`, `DataDirectoryUnusable`, `SettingsError`.
    """
    with DataLock(settings.data):
        listen = trio.from_thread.check_cancelled
        catalogue = await trio.to_thread.run_sync(open_catalogue, settings.database_url, settings.data, listen)
        journal = Journal(settings.data)
        try:
            telemetry = Telemetry()
            registry = Registry(
                max_active_per_user=settings.max_active_jobs_per_user,
                max_active=settings.max_running_jobs + settings.max_queued_jobs,
            )
            artifacts = await trio.to_thread.run_sync(_recovered, settings, journal, registry, telemetry, now())
            hub = Hub(registry)
            pace = Pace()
            uploads = Uploads(settings.uploads_directory)
            runner = Runner(catalogue, uploads, pace, settings.worker_threads)
            gallery = Gallery(catalogue, uploads, pace)

            async def may_export(job: Job) -> bool:
                return await trio.to_thread.run_sync(catalogue.access, job.user, job.project_id) is not None

            async with (
                open_ledger(journal) as ledger,
                open_supervisor(
                    settings, registry, hub, ledger, artifacts, runner, telemetry, may_export, now
                ) as supervisor,
                trio.open_nursery() as nursery,
            ):
                retention = Retention(settings, registry, hub, ledger, artifacts, now)
                nursery.start_soon(retention.run, name="retention")
                yield Service(
                    settings,
                    catalogue,
                    registry,
                    hub,
                    ledger,
                    artifacts,
                    supervisor,
                    retention,
                    telemetry,
                    pace,
                    gallery,
                    now,
                )
                nursery.cancel_scope.cancel(reason="the service ends")
        finally:
            journal.close()
            catalogue.close()
