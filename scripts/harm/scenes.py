"""What goes on while something goes wrong: an export, a cancel, a deletion, an expiry, a start, a shutdown; on the real
service with a project of one small image. Each scene arms the wire when what it is about begins."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import trio
import trio.testing
from conftest import World, make_world

from exportd.core.events import Message
from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.core.states import State
from exportd.errors import ExportdError
from exportd.jobs.retention import has_archive
from exportd.jobs.service import Service, open_service
from exportd.store.journal import read_audit
from harm.children import Tell
from harm.operations import Hold, Operation, Wire
from harm.promises import Found, Seen

T = TypeVar("T")

REQUEST = StartRequest(
    options=ExportOptions(
        include_original_images=True,
        annotation_formats=("coco",),
        metrics_formats=("csv",),
        include_documentation=True,
    )
)
"""What touches every kind of file: originals, the scratch folder, a file without a name."""

CLEANUP = 0.3
"""Seconds that a cancel waits for its clean-up and its row; where these fail for good, a sweep waits for it often."""

PATIENCE = 30
"""Seconds that an export may take; never reached."""

REFUSALS = (ExportdError, OSError, sqlite3.Error)
"""What a call may raise when something fails."""

LATER = {"expire": timedelta(days=2), "forget": timedelta(days=40)}


@dataclass
class Stage:
    """What a scene plays on. Everything that is asked and answered is told to the parent at once."""

    service: Service
    world: World
    wire: Wire
    tell: Tell
    done: str
    """The job that was completed before."""

    async def start(self) -> Job:
        """A new export. Raises what was raised, after it was told."""
        job = await self._asking("start", [""], self.service.start(self.world.alice, self.world.project_id, REQUEST))
        self.tell("started", job.id)
        return job

    async def ended(self, job: Job) -> Job:
        with trio.fail_after(PATIENCE):
            return await self.service._supervisor.wait_concluded(job.id)

    async def cancel(self, job_id: str) -> None:
        job, _ = await self._asking(
            "cancel", [job_id], self.service.cancel(self.world.alice, self.world.project_id, job_id)
        )
        self.tell("cleanup", job_id, job.cleanup_completed)

    async def delete(self, job_id: str) -> None:
        await self._asking("delete", [job_id], self.service.delete(self.world.alice, self.world.project_id, job_id))

    async def retention(self, what: str, jobs: Sequence[str]) -> None:
        await self._asking(what, jobs, self.service._retention.round())

    async def _asking(self, what: str, jobs: Sequence[str], call: Awaitable[T]) -> T:
        for job in jobs:
            self.tell("asked", what, job)
        try:
            answer = await call
        except REFUSALS as error:
            self.tell("refused", what, type(error).__name__)
            raise
        for job in jobs:
            self.tell("answered", what, job)
        return answer


Scene = Callable[[Stage], Awaitable[None]]


async def export(stage: Stage) -> None:
    """From the start to the end."""
    stage.wire.armed = True
    await stage.ended(await stage.start())


def cancel_at(name: str, place: str) -> Scene:
    """A cancel that finds the export about to do this; the export goes on when the cancel is decided."""

    async def cancel(stage: Stage) -> None:
        hold = stage.wire.hold(Operation(name, place).__eq__)
        job = await stage.start()
        with trio.fail_after(PATIENCE):
            await hold.reached.wait()
        stage.wire.armed = True
        await cancelled(stage, job, hold)
        await stage.ended(job)

    return cancel


async def cancelled(stage: Stage, job: Job, hold: Hold) -> None:
    """Cancels; lets the export go on as soon as that is decided, or refused."""
    answered = trio.Event()

    async def ask() -> None:
        with suppress(*REFUSALS):  # told; the export goes on
            await stage.cancel(job.id)
        answered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while stage.service._registry.get(job.id).state is State.PROCESSING and not answered.is_set():
            await trio.sleep(0.001)
        hold.let_go()


async def cancel_pending(stage: Stage) -> None:
    """A cancel of a job that waits for its turn behind one that stands still."""
    hold = stage.wire.hold(Operation("open", "staging/*.zip").__eq__)
    first = await stage.start()
    await hold.reached.wait()
    waiting = await stage.start()
    stage.wire.armed = True
    with suppress(*REFUSALS):  # told; what waits goes on
        await stage.cancel(waiting.id)
    hold.let_go()
    await stage.ended(first)


async def delete(stage: Stage) -> None:
    stage.wire.armed = True
    await stage.delete(stage.done)


async def expire(stage: Stage) -> None:
    """The archive's time is over."""
    stage.wire.armed = True
    await stage.retention("expire", [stage.done])


async def forget(stage: Stage) -> None:
    """The records' time is over, of all that have ended."""
    ended = [job.id for job in stage.service._registry.all() if job.is_final]
    stage.wire.armed = True
    await stage.retention("delete", ended)


async def shut_down(stage: Stage) -> None:
    """The service ends while an export stands before its last write."""
    hold = stage.wire.hold(Operation("fsync", "staging/*.zip").__eq__)
    job = await stage.start()
    await hold.reached.wait()
    stage.wire.armed = True
    stage.tell("asked", "cancel", job.id)

    async def let_go() -> None:
        while stage.service._registry.get(job.id).state is State.PROCESSING:
            await trio.sleep(0.001)
        hold.let_go()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_go)
        await stage.service.drain(0)


SCENES: dict[str, Scene] = {
    "export": export,
    "cancel at the staging file": cancel_at("open", "staging/*.zip"),
    "cancel at a write": cancel_at("write", "staging/*.zip"),
    "cancel at the scratch folder": cancel_at("mkdir", "staging/*.scratch"),
    "cancel at the flush": cancel_at("fsync", "staging/*.zip"),
    "cancel of a pending job": cancel_pending,
    "delete": delete,
    "expire": expire,
    "forget": forget,
    "shut down": shut_down,
}


# --- data directories -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """A data directory that every point begins with a copy of."""

    data: Path
    project_id: str
    jobs: dict[str, Seen]
    """One completed, one cancelled, one failed."""
    reference: str
    """SHA-256 of an export of the whole project."""

    @property
    def done(self) -> str:
        return next(name for name, job in self.jobs.items() if job.status == "completed")


def make_template(data: Path, tell: Tell) -> None:
    """Makes the directory and tells its project and jobs. For a child process: it uses threads."""
    world = make_world(data, 1, "spheroid")
    tell("project", world.project_id, asdict(world.alice), asdict(world.bob))
    trio.run(_fill, world, tell)
    tell("loaded", sorted(sys.modules))


async def _fill(world: World, tell: Tell) -> None:
    async with opened(world) as service:
        stage = Stage(service, world, Wire(world.settings.data, (), lambda *_: None), tell, "")
        await stage.ended(await stage.start())
        await stage.cancel((await stage.start()).id)
        image = next(world.settings.uploads_directory.rglob("*.png"))
        content = image.read_bytes()
        image.write_bytes(b"")
        await stage.ended(await stage.start())
        image.write_bytes(content)
        tell("jobs", {job.id: asdict(await seen(service, world, job)) for job in service._registry.all()})


@asynccontextmanager
async def opened(
    world: World, later: timedelta = timedelta(), running: int = 1, threads: int = 1
) -> AsyncIterator[Service]:
    """The service on a world, at a time that is so much later."""
    settings = world.settings.model_copy(
        update={"max_running_jobs": running, "worker_threads": threads, "cleanup_timeout": CLEANUP}
    )
    async with open_service(settings, lambda: datetime.now(UTC) + later) as service:
        # The first round of retention is over when a second one is, and no thread works.
        await service._retention.round()
        await trio.testing.wait_all_threads_completed()
        yield service


def listen(service: Service, tell: Tell) -> None:
    """Has every event told when it is published: not even a feed that reads at once is quicker."""
    hub, publish = service._hub, service._hub.publish

    def published(message: Message, job: Job) -> None:
        number = hub.next_seq(job.id)
        publish(message, job)
        if hub.next_seq(job.id) != number:  # else the gate is shut
            tell("event", message.event, job.id)

    hub.publish = published  # type: ignore[method-assign]


async def seen(service: Service, world: World, job: Job) -> Seen:
    """The export as its user sees it."""
    try:
        download = await service.open_download(world.alice, world.project_id, job.id)
    except ExportdError as error:
        got = error.code
    else:
        with download:
            got = hashlib.sha256(os.pread(download.fd, download.size + 1, 0)).hexdigest()
    trail = tuple((row.before, row.to) for row in await service._ledger.audit(job.id))
    expired = job.state is State.COMPLETED and not has_archive(job)
    return Seen(
        job.status,
        job.error_code,
        job.retryable,
        job.sha256,
        expired,
        got,
        trail,
        f"{job.reason} by {job.actor}",
        len(job.warnings),
        job.progress.percent,
    )


async def look(service: Service, world: World, gone: Sequence[str] = ()) -> dict[str, Any]:
    """All that `Found` holds, of a service at rest; a new export is made last, and deleted."""
    jobs = {job.id: asdict(await seen(service, world, job)) for job in service._registry.all()}
    data = world.settings.data
    trails = {name: [(t.before, t.to) for t in read_audit(data, name)] for name in gone if name not in jobs}
    files = world.files()
    with trio.fail_after(PATIENCE):
        job = await service.start(world.alice, world.project_id, REQUEST)
        job = await service._supervisor.wait_concluded(job.id)
        again = (await seen(service, world, job)).download
        await service.delete(world.alice, world.project_id, job.id)
    return {"jobs": jobs, "trails": trails, "files": files, "again": again}


def found(values: dict[str, Any]) -> Found:
    """What `look` has told."""
    jobs = {name: Seen.of(job) for name, job in values["jobs"].items()}
    trails = {name: tuple((a, b) for a, b in trail) for name, trail in values["trails"].items()}
    return Found(jobs, trails, values["files"], values["again"])


def at(world: World, data: Path) -> World:
    """The same world in another place."""
    return replace(world, settings=world.settings.model_copy(update={"data": data}))
