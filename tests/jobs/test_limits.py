"""Limits and what time takes away: room, when to come back, expiry, sweeps. Trio's clock stands still unless it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
from conftest import World
from sweep import Brake

from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.errors import ExportExpired, InsufficientSpace, ShuttingDown
from exportd.jobs.retention import SWEEP_INTERVAL
from exportd.jobs.service import Service, open_service

FULL = StartRequest(
    options=ExportOptions(include_original_images=True, annotation_formats=("coco",), include_documentation=True)
)
PATIENCE = 30
"""Real seconds after which a test is taken to hang."""


def now() -> datetime:
    """The service's time, as trio's."""
    return datetime(2026, 1, 31, tzinfo=UTC) + timedelta(seconds=trio.current_time())


async def until(holds: Callable[[], object]) -> None:
    """By the real clock: trio's may stand still."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it does not come"
        await trio.to_thread.run_sync(time.sleep, 0.001)


async def started(service: Service, world: World) -> Job:
    return await service.start(world.alice, world.project_id, FULL)


async def finished(service: Service, world: World) -> Job:
    return await service._supervisor.wait_concluded((await started(service, world)).id)


# --- room ------------------------------------------------------------------------------------------------------------


async def test_starts_at_once_do_not_share_the_room_for_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[str] = []

    async def start(service: Service) -> None:
        try:
            outcomes.append((await started(service, world)).status)
        except InsufficientSpace:
            outcomes.append("refused")

    brake = Brake(monkeypatch)
    async with world.service() as service:
        needed = (await service.estimate(world.alice, world.project_id, FULL)).bytes
        monkeypatch.setattr(service._artifacts, "free", lambda: int(1.5 * needed))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(start, service)
        assert sorted(outcomes)[1:] == ["refused", "refused"]
        with pytest.raises(InsufficientSpace):
            await service.estimate(world.alice, world.project_id, FULL)
        with brake.off():
            await service._supervisor.wait_concluded(service._registry.all()[0].id)
        await started(service, world)


async def test_the_estimate_is_room_enough(world: World) -> None:
    """It errs on the high side, and not without measure."""
    async with world.service() as service:
        estimate = await service.estimate(world.alice, world.project_id, FULL)
        job = await finished(service, world)
    assert job.file_size is not None
    assert job.file_size <= estimate.bytes <= 2 * job.file_size + (1 << 20)


# --- when to come back -------------------------------------------------------------------------------------------------


async def test_who_comes_while_it_drains_is_told_when_that_is_over(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    async with world.service() as service:
        assert service.refusal() is None
        await service.drain(40)
        for jump, left in ((0, 40), (25.5, 15), (1000, 1)):
            mock_clock.jump(jump)
            with pytest.raises(ShuttingDown) as caught:
                await started(service, world)
            assert caught.value.retry_after == left


async def test_a_start_that_is_on_its_way_when_the_drain_begins_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, drained = threading.Event(), threading.Event()

    def free() -> int:
        asked.set()
        drained.wait(PATIENCE)
        return 1 << 40

    async with world.service() as service, trio.open_nursery() as nursery:
        monkeypatch.setattr(service._artifacts, "free", free)

        async def start() -> None:
            with pytest.raises(ShuttingDown):
                await started(service, world)

        nursery.start_soon(start)
        await until(asked.is_set)
        await service.drain(0)
        drained.set()
    assert service._registry.all() == []


# --- expiry ------------------------------------------------------------------------------------------------------------


async def test_an_archive_is_gone_to_the_second_and_its_record_stays(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    """Also one that was completed between two rounds, and sooner than the next sweep."""
    settings = world.settings.model_copy(update={"archive_ttl": 600.0})
    async with open_service(settings, now) as service:
        await until(lambda: _sleeps(SWEEP_INTERVAL))
        mock_clock.jump(100)
        job = await finished(service, world)
        mock_clock.jump(599)
        (await service.open_download(world.alice, world.project_id, job.id)).close()
        await until(lambda: _sleeps(1))
        mock_clock.jump(1)
        with pytest.raises(ExportExpired) as caught:
            await service.open_download(world.alice, world.project_id, job.id)
        assert caught.value.times["expiredAt"] is not None
        await until(lambda: world.files() == [])
        told = await service.status(world.alice, world.project_id, job.id)
        assert (told["status"], told["sha256"]) == ("completed", job.sha256)
        assert [row["id"] for row in await service.history(world.alice, world.project_id, 10)] == [job.id]
    async with open_service(settings, now) as service:
        with pytest.raises(ExportExpired):
            await service.open_download(world.alice, world.project_id, job.id)


def _sleeps(seconds: float) -> bool:
    """Whether the next round is due in no more than so many seconds: nothing else here waits for so short a time."""
    return 0 < trio.lowlevel.current_statistics().seconds_to_next_deadline <= seconds


# --- sweeps ------------------------------------------------------------------------------------------------------------


def orphans(world: World) -> None:
    """What a crash leaves."""
    for name in ("archives/nobody.zip", "staging/nobody.zip"):
        (world.settings.data / name).write_bytes(b"torn")
    (world.settings.data / "staging/nobody.scratch").mkdir()


async def test_orphans_are_swept_at_the_start_and_every_hour_and_nothing_else(
    world: World, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = world.settings.model_copy(update={"job_timeout": 100 * SWEEP_INTERVAL})
    async with open_service(settings, now):
        pass
    orphans(world)
    async with open_service(settings, now) as service:
        assert world.files() == []
        done = await finished(service, world)
        brake = Brake(monkeypatch)
        working = await started(service, world)
        await until(lambda: f"staging/{working.id}.zip" in world.files())
        orphans(world)
        whole = [f"archives/{done.id}.zip", f"staging/{working.id}.zip"]
        for _ in range(2):
            await until(lambda: _sleeps(SWEEP_INTERVAL))
            mock_clock.jump(SWEEP_INTERVAL)
            await until(lambda: world.files() == whole)
            orphans(world)
        with brake.off():
            assert (await service._supervisor.wait_concluded(working.id)).status == "completed"


async def test_an_export_that_begins_during_a_sweep_keeps_its_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, look_on = threading.Event(), threading.Event()
    iterdir = Path.iterdir

    def slowly(path: Path) -> Iterator[Path]:
        if path.name == "staging":
            looking.set()
            look_on.wait(PATIENCE)
        return iterdir(path)

    brake = Brake(monkeypatch)
    async with world.service() as service, trio.open_nursery() as nursery:
        await service._retention.round()
        monkeypatch.setattr(Path, "iterdir", slowly)
        nursery.start_soon(service._retention.round)
        await until(looking.is_set)
        job = await started(service, world)
        await until(lambda: f"staging/{job.id}.zip" in world.files())
        look_on.set()
        await until(lambda: nursery.child_tasks == frozenset())
        with brake.off():
            assert (await service._supervisor.wait_concluded(job.id)).status == "completed"
