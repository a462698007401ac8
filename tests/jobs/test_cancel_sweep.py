"""The guarantee, at every scheduling step of an export: a cancel that is accepted wins, and nothing follows it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog.testing
import trio
from conftest import World, held_files
from postgres import eventually
from sweep import CancelAtCheck, CancelAtStep

from exportd.core.events import TERMINAL
from exportd.core.job import Job
from exportd.core.options import FORMAT_IDS, METRICS_IDS, ExportOptions, StartRequest
from exportd.core.states import Reason
from exportd.formats.spool import Spool
from exportd.formats.tabular import Block
from exportd.jobs import dataset
from exportd.jobs.hub import Feed
from exportd.jobs.service import Service

EVERYTHING = StartRequest(
    options=ExportOptions(
        include_original_images=True,
        include_visualizations=True,
        annotation_formats=FORMAT_IDS,
        metrics_formats=METRICS_IDS,
        intensity_metrics=True,
        include_documentation=True,
    )
)
APART = StartRequest(options=ExportOptions(include_visualizations=True, metrics_formats=METRICS_IDS))
"""Nobody shares pixels: images are measured and drawn by stages of their own, and tables are written beside the drawing."""

ENDS = {"completed": "export:completed", "cancelled": "export:cancelled", "failed": "export:failed"}
PATIENCE = 30
"""Seconds after which a run is taken to hang; never reached."""


@dataclass
class Run:
    """One export with a cancel somewhere in it."""

    service: Service
    request: StartRequest = EVERYTHING
    events: list[str] = field(default_factory=list)
    late_reader: list[str] = field(default_factory=list)
    """What somebody is told who begins to read when all is over."""
    events_at_answer: int | None = None
    held_at_answer: list[str] = field(default_factory=list)
    """Files of exports that were still open when the end was told."""
    job: Job | None = None
    accepted: bool | None = None

    def cancel(self) -> None:
        """What the instrument calls: sync, in the event loop."""
        active = self.service._registry.active()
        if active:
            self.accepted = self.service._supervisor.cancel_nowait(
                active[0].id, by="user", reason=Reason.USER_CANCELLATION, actor="alice"
            )

    async def watch(self, feed: Feed) -> None:
        while True:
            self.events.append((await feed.receive()).event)

    async def whole(self, world: World) -> None:
        with self.service.watch(world.alice) as feed, self.service.watch(world.alice) as lazy:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watch, feed)
                started = await self.service.start(world.alice, world.project_id, self.request)
                self.job = await self.service._supervisor.wait_concluded(started.id)
                self.held_at_answer = held_files()
                await trio.testing.wait_all_tasks_blocked()
                self.events_at_answer = len(self.events)
                await trio.testing.wait_all_tasks_blocked(0.001)
                nursery.cancel_scope.cancel()
            while len(lazy._outbox):
                self.late_reader.append((await lazy.receive()).event)


async def violations(run: Run, world: World, logged: list[MutableMapping[str, Any]]) -> list[str]:
    """Every promise that does not hold after the run."""
    job, found = run.job, []
    assert job is not None
    ends = [e for e in run.events if e in TERMINAL]
    if run.accepted and job.status != "cancelled":
        found.append(f"the cancel was accepted and the job is {job.status}")
    if run.accepted is False and job.status != "completed":
        found.append(f"the cancel was refused and the job is {job.status}")
    if ends != [ENDS[job.status]] or run.events[-1:] != ends or len(run.events) != run.events_at_answer:
        found.append(f"events {run.events}, the job is {job.status}")
    if job.status == "cancelled" and run.late_reader != ["export:cancelled"]:
        found.append(f"after the cancel a slow reader was still told {run.late_reader}")
    archive = f"archives/{job.id}.zip"
    if world.files() != ([archive] if job.status == "completed" else []):
        found.append(f"{job.status}, and on disk: {world.files()}")
    if job.status == "cancelled" and run.held_at_answer:
        found.append(f"cancelled, and still open: {run.held_at_answer}")
    if job.status == "cancelled" and job.cleanup_completed is not True:
        found.append("the clean-up was not completed")
    trail = await run.service.audit(world.alice, world.project_id, job.id)
    if [row["to"] for row in trail if row["to"] in ENDS] != [job.status] or trail[-1]["to"] != job.status:
        found.append(f"audit {[row['to'] for row in trail]}, the job is {job.status}")
    if run.service._supervisor.statistics().running or run.service._supervisor._lives:
        found.append("something of the job still lives")
    found += [f"logged {entry}" for entry in logged if entry["log_level"] in ("error", "critical", "warning")]
    if job.status == "completed":
        await run.service.delete(world.alice, world.project_id, job.id)
    return found


async def sweep(
    world: World, one: Callable[[Run, int], CancelAtStep | CancelAtCheck], request: StartRequest = EVERYTHING
) -> tuple[int, list[str], set[str]]:
    """Cancels at point 0, 1, ... until the export ends before it; the number of points, violations, endings seen."""
    found: list[str] = []
    endings: set[str] = set()
    n = 0
    async with world.service() as service:
        while True:
            run = Run(service, request)
            with structlog.testing.capture_logs() as logged, trio.fail_after(PATIENCE):
                point = one(run, n)
                try:
                    await run.whole(world)
                finally:
                    if isinstance(point, CancelAtStep):
                        trio.lowlevel.remove_instrument(point)
            if isinstance(point, CancelAtStep):
                found += [f"{n}: {error!r}" for error in point.errors]
            found += [f"{n}: {v}" for v in await violations(run, world, logged)]
            assert run.job is not None
            endings.add(run.job.status)
            if not point.fired:
                break
            n += 1
        if (platform := world.platform) is not None:
            eventually(
                lambda: {state for state, _ in platform.sessions()} == {"idle"}
            )  # no transaction was left behind
    return n, found, endings


@pytest.fixture(autouse=True)
def _shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small images would be one thread's: here they are dealt to two."""
    monkeypatch.setattr(dataset, "TURN_IMAGES", 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def behind(request: pytest.FixtureRequest) -> Callable[[World], World]:
    """Puts the one or the other database behind a world."""
    move: Callable[[World], World] = request.getfixturevalue("beside") if request.param == "postgresql" else lambda w: w
    return move


def at_step(due: bool) -> Callable[[Run, int], CancelAtStep]:
    def point(run: Run, n: int) -> CancelAtStep:
        made = CancelAtStep(n, run.cancel, due=due)
        trio.lowlevel.add_instrument(made)
        return made

    return point


@pytest.mark.parametrize("due", [True, False], ids=["due to run", "paused"])
async def test_a_cancel_at_any_scheduling_step(tiny_world: World, behind: Callable[[World], World], due: bool) -> None:
    steps, found, endings = await sweep(behind(tiny_world), at_step(due))
    print(f"cancelled at {steps} scheduling steps ({'due to run' if due else 'paused'}): {len(found)} violations")
    assert not found
    assert steps > 50
    assert endings == {"cancelled", "completed"}


async def test_a_cancel_at_any_step_while_tables_are_written_beside_overlays(tiny_world: World) -> None:
    steps, found, endings = await sweep(tiny_world, at_step(due=True), APART)
    print(f"cancelled at {steps} scheduling steps: {len(found)} violations")
    assert not found
    assert steps > 50
    assert endings == {"cancelled", "completed"}


@pytest.mark.parametrize("request_", [EVERYTHING, APART], ids=["everything", "apart"])
async def test_a_cancel_at_any_look_of_a_worker_thread(
    tiniest_world: World,
    behind: Callable[[World], World],
    monkeypatch: pytest.MonkeyPatch,
    request_: StartRequest,
) -> None:
    def at_check(run: Run, n: int) -> CancelAtCheck:
        monkeypatch.undo()
        return CancelAtCheck(n, run.cancel, monkeypatch)

    checks, found, endings = await sweep(behind(tiniest_world), at_check, request_)
    print(f"cancelled at {checks} looks of worker threads: {len(found)} violations")
    assert not found
    assert checks > 20
    assert endings == {"cancelled", "completed"}


async def test_tables_that_cannot_be_closed_change_nothing_about_a_cancel(
    tiny_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be full when the file's end is to be written; that takes a fifth of a second for a million rows, so it is
    no work for the event loop."""
    close, closed = Spool.close, list[int]()

    def fail(spool: Spool) -> None:
        close(spool)
        closed.append(threading.get_ident())
        raise OSError(errno.ENOSPC, "no space left on device")

    def at_rows(spool: Spool, block: Block) -> None:
        trio.from_thread.run_sync(run.cancel)

    monkeypatch.setattr(Spool, "close", fail)
    monkeypatch.setattr(Spool, "append", at_rows)
    async with tiny_world.service() as service:
        run = Run(service)
        with structlog.testing.capture_logs() as logged, trio.fail_after(PATIENCE):
            await run.whole(tiny_world)
        assert run.accepted
        (thread,) = closed
        assert thread != threading.get_ident()
        assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["close_failed"]
        assert await violations(run, tiny_world, []) == []


async def test_the_daemon_torn_down_at_any_scheduling_step(tiny_world: World) -> None:
    """The whole service is cancelled from outside: what it remembered, and what a new one finds, is the same."""
    world = tiny_world
    endings: set[str] = set()
    n = 0
    while True:
        with trio.CancelScope() as everything, trio.fail_after(PATIENCE):
            point = CancelAtStep(n, everything.cancel, due=n % 2 == 0)
            async with world.service() as service:
                trio.lowlevel.add_instrument(point)
                try:
                    await Run(service).whole(world)
                finally:
                    trio.lowlevel.remove_instrument(point)
        assert not point.errors
        (remembered,) = service._registry.all()
        assert remembered.is_final
        assert not held_files(), f"step {n}"
        async with world.service() as again:
            (recovered,) = again._registry.all()
            assert recovered == remembered, f"step {n}"
            trail = [row["to"] for row in await again.audit(world.alice, world.project_id, recovered.id)]
            assert trail[-1] == recovered.status
            archive = f"archives/{recovered.id}.zip"
            assert world.files() == ([archive] if recovered.status == "completed" else []), f"step {n}"
            await again.delete(world.alice, world.project_id, recovered.id)
        endings.add(recovered.status)
        if not point.fired:
            break
        n += 1
    print(f"torn down at {n} scheduling steps: 0 violations")
    assert n > 30
    assert endings == {"cancelled", "completed"}
