"""The real service beside its model: any history of requests, restarts and lost access has the outcome that the table says."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
from conftest import World, held_files, make_world, write_tiny_project
from hypothesis import given, settings
from hypothesis import strategies as st
from model import CAP, HAPPENINGS, REQUESTS, Model, Outcome, Pair, Step, programs, reachable
from sweep import Brake

from exportd.core.events import TERMINAL
from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.errors import ExportdError, NotFound
from exportd.jobs.hub import Feed
from exportd.jobs.service import Service, open_service
from exportd.store.embedded import EmbeddedCatalogue, ShareStatus
from exportd.store.importers import import_project

ORDER = StartRequest(options=ExportOptions(include_original_images=True, annotation_formats=("coco",)))
KEPT = timedelta(hours=1)
PATIENCE = 30
"""Seconds after which a step is taken to hang; never reached."""

NOBODY = "3f0c6a52-1d0f-4c57-9a53-5f4b1c6f0e11"
ENDS = {name.removeprefix("export:"): name for name in TERMINAL} | {"expired": "export:completed"}
RESTART = Step("restart")


@dataclass(frozen=True)
class Stage:
    """A data directory with a project that can be exported and one that cannot: its image is empty."""

    world: World
    broken: str

    def project(self, sound: bool) -> str:
        return self.world.project_id if sound else self.broken

    def share(self, access: bool) -> None:
        with EmbeddedCatalogue(self.world.settings.data) as embedded:
            for project in (self.world.project_id, self.broken):
                embedded.share(project, self.world.bob.email, ShareStatus.ACCEPTED if access else ShareStatus.REVOKED)


class Clock:
    """Never twice the same time, and as late as it is told to be."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


class Player:
    """Does to the real service what the steps say, and compares it with the model."""

    def __init__(self, stage: Stage, brake: Brake) -> None:
        self._stage, self._brake, self._clock = stage, brake, Clock()
        self._alice, self._bob = stage.world.alice, stage.world.bob
        self._ids: list[str] = []
        self._projects: list[str] = []
        self._told: defaultdict[str, list[str]] = defaultdict(list)
        self._model = Model()
        self.hit: set[Pair] = set()

    async def play(self, program: Sequence[Step]) -> None:
        """Raises AssertionError at the first step that differs. Ends with a restart."""
        for stretch in _stretches(program):
            async with self._serving() as service:
                await self._agree(service)
                for step in stretch:
                    self.hit |= set(self._model.pairs(step))
                    await self._compare(service, step)
                    await self._agree(service)
            self.hit |= set(self._model.pairs(RESTART))
            self._model, _ = self._model.after(RESTART)
        async with self._serving() as service:
            await self._agree(service)
        assert not [name for name in held_files() if name.startswith(str(self._stage.world.settings.data))]

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[Service]:
        changes = {"max_running_jobs": 1, "max_active_jobs_per_user": CAP, "archive_ttl": KEPT.total_seconds()}
        changed = self._stage.world.settings.model_copy(update=changes)
        async with open_service(changed, self._clock.now) as service:
            with service.watch(self._bob) as feed:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, feed)
                    yield service
                    await service.drain(0)

    async def _listen(self, feed: Feed) -> None:
        try:
            while True:
                frame = await feed.receive()
                self._told[frame.job_id].append(frame.event)
        except trio.EndOfChannel:
            pass

    # --- one step -----------------------------------------------------------------------------------------------------

    async def _compare(self, service: Service, step: Step) -> None:
        before, (self._model, expected) = self._model, self._model.after(step)
        outcome: Outcome = expected if isinstance(expected, str) else "accepted"
        with trio.fail_after(PATIENCE):
            try:
                if step.what in REQUESTS:
                    await self._ask(service, step, before)
                else:
                    await self._let(service, step, before)
            except ExportdError as error:
                outcome = type(error)
        assert outcome == expected, f"{step} with {before}: {outcome}"

    async def _let(self, service: Service, step: Step, before: Model) -> None:
        match step.what:
            case "start":
                project = self._stage.project(step.sound)
                job = await service.start(self._bob, project, ORDER)
                self._ids.append(job.id)
                self._projects.append(project)
            case "finish":
                working = [i for i, export in enumerate(before.exports) if export.state == "processing"]
                for number in working:
                    with self._brake.off():
                        await service._supervisor.wait_concluded(self._ids[number])
            case "expire":
                self._clock.time += KEPT
                await service._retention.round()
            case _:
                self._stage.share(step.what == "grant access")

    async def _ask(self, service: Service, step: Step, before: Model) -> None:
        project, job_id = self._named(step.export)
        match step.what:
            case "status":
                await service.status(self._bob, project, job_id)
            case "cancel":
                _, decided = await service.cancel(self._bob, project, job_id)
                assert decided == (before.state(step.export) != "cancelled")
            case "delete":
                await service.delete(self._bob, project, job_id)
            case "download":
                with await service.open_download(self._bob, project, job_id) as download:
                    content = os.pread(download.fd, download.size + 1, 0)
                assert hashlib.sha256(content).hexdigest() == download.job.sha256
            case _:
                await self._cancel_by_all(service, step.export, before)

    async def _cancel_by_all(self, service: Service, export: int, before: Model) -> None:
        """Raises what the owner's cancel was refused with."""
        answers: list[tuple[Job, bool]] = []
        refusals: dict[str, list[ExportdError]] = {self._alice.id: [], self._bob.id: []}

        async def cancel(user_id: str) -> None:
            user = self._alice if user_id == self._alice.id else self._bob
            try:
                answers.append(await service.cancel(user, *self._named(export)))
            except ExportdError as error:
                refusals[user_id].append(error)

        async with trio.open_nursery() as nursery:
            for user in (self._bob, self._alice, self._bob):
                nursery.start_soon(cancel, user.id)
        for error in refusals[self._alice.id]:
            raise error
        assert [type(error) for error in refusals[self._bob.id]] == ([] if before.access else [NotFound] * 2)
        assert sum(decided for _, decided in answers) == (before.state(export) != "cancelled")
        assert len({job.cancelled_at for job, _ in answers}) == 1

    def _named(self, export: int) -> tuple[str, str]:
        if export < len(self._ids):
            return self._projects[export], self._ids[export]
        return self._stage.world.project_id, NOBODY

    # --- everything ---------------------------------------------------------------------------------------------------

    async def _agree(self, service: Service) -> None:
        """Status, events, audit trail and files of every export are what they are in the model."""
        with trio.fail_after(PATIENCE):
            while self._is_starting(service):  # noqa: ASYNC110 - what has its turn takes a moment to show it
                await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked()
        archives = []
        for number, job_id in enumerate(self._ids):
            state = self._model.state(number)
            wire = "completed" if state == "expired" else state
            ends = [event for event in self._told[job_id] if event in TERMINAL]
            assert self._told[job_id][-1:] == ends[-1:] or not ends, (
                f"{self._told[job_id]} of an export that is {state}"
            )
            if state == "gone":
                assert len(ends) == 1
                with pytest.raises(NotFound):
                    service._registry.get(job_id)
                continue
            assert ends == ([ENDS[state]] if state in ENDS else [])
            seen = await service.status(self._alice, *self._named(number))
            assert seen["status"] == wire
            trail = await service.audit(self._alice, *self._named(number))
            assert trail[-1]["to"] == wire
            archives += [f"archives/{job_id}.zip"] if state == "completed" else []
        assert [name for name in self._stage.world.files() if name.startswith("archives/")] == sorted(archives)
        assert {Path(name).stem for name in self._stage.world.files() if name.startswith("staging/")} <= self._working

    @property
    def _working(self) -> set[str]:
        return {i for i, e in zip(self._ids, self._model.exports, strict=True) if e.state == "processing"}

    def _is_starting(self, service: Service) -> bool:
        return any(service._registry.get(job_id).status == "pending" for job_id in self._working)


def _stretches(program: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps from one restart to the next; the end is one, too."""
    stretch: list[Step] = []
    for step in (*program, RESTART):
        if step.what == RESTART.what:
            yield stretch
            stretch = []
        else:
            stretch.append(step)


# --- tests ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Made once; never used, only copied."""
    folder = tmp_path_factory.mktemp("stage")
    world = make_world(folder / "data", 1, "spheroid")
    whole = set(world.settings.uploads_directory.rglob("*.png"))
    source = write_tiny_project(folder, 1, "spheroid")
    broken = import_project(world.settings, source, None, world.alice.email).project_id
    for image in set(world.settings.uploads_directory.rglob("*.png")) - whole:
        image.write_bytes(b"")
    found = Stage(world, broken)
    found.share(access=True)
    return found


@contextmanager
def copied(stage: Stage) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        shutil.copytree(stage.world.settings.data, data)
        world = replace(stage.world, settings=stage.world.settings.model_copy(update={"data": data}))
        yield replace(stage, world=world)


def played(stage: Stage, program: Sequence[Step]) -> set[Pair]:
    """The pairs that were hit, and agreed."""
    with copied(stage) as own, pytest.MonkeyPatch.context() as monkeypatch:
        player = Player(own, Brake(monkeypatch))
        trio.run(player.play, program)
        return player.hit


def test_every_reachable_pair_of_state_and_request_has_its_outcome(stage: Stage) -> None:
    hit: set[Pair] = set()
    written = list(programs())
    for program in written:
        hit |= played(stage, program)
    print(f"{len(hit)} of {len(reachable())} pairs of state and request, in {sum(map(len, written))} steps")
    assert hit == reachable()


histories = st.lists(
    st.builds(Step, st.sampled_from(("start", *HAPPENINGS, *REQUESTS)), st.integers(0, 3), st.booleans())
    | st.builds(Step, st.just("start"), sound=st.just(True)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(histories)
def test_any_history_has_the_outcomes_of_the_model(stage: Stage, program: list[Step]) -> None:
    assert played(stage, program) <= reachable()
