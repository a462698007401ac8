"""The service as a whole: caps, keys, time limits, access, expiry, shutdown, recovery; with real files and journal."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from conftest import World, held_files

from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.core.states import Reason, State
from exportd.errors import (
    DataDirectoryInUse,
    DataDirectoryUnusable,
    ExportActive,
    ExportCancelled,
    ExportCompleted,
    ExportExpired,
    ExportNotReady,
    IdempotencyMismatch,
    InsufficientSpace,
    InvalidRequest,
    NotAllowed,
    NotFound,
    ProjectForbidden,
    QueueFull,
    ShuttingDown,
    TooManyActive,
)
from exportd.jobs import supervisor
from exportd.jobs.service import Service
from exportd.settings import Reserve
from exportd.store.artifacts import Artifacts, Staged
from exportd.store.embedded import ShareStatus
from exportd.store.journal import Journal, SaveJob, read_audit

DOCS = StartRequest(options=ExportOptions(include_documentation=True))
FULL = StartRequest(
    options=ExportOptions(
        include_original_images=True, annotation_formats=("coco", "yolo", "json"), include_documentation=True
    )
)
PATIENCE = 30
NOBODY = "3f0c6a52-1d0f-4c57-9a53-5f4b1c6f0e11"


async def finished(service: Service, world: World, request: StartRequest = FULL) -> Job:
    job = await service.start(world.alice, world.project_id, request)
    with trio.fail_after(PATIENCE):
        return await service._supervisor.wait_concluded(job.id)


def content(service: Service, job: Job) -> bytes:
    with service._registry.reading(job.id, service._open) as download:
        return os.pread(download.fd, download.size + 1, 0)


async def test_the_same_project_and_options_give_the_same_bytes(world: World, tmp_path: Path) -> None:
    async with world.service() as service:
        jobs = [await finished(service, world) for _ in range(2)]
        first, second = (content(service, job) for job in jobs)
    assert first == second
    assert [job.sha256 for job in jobs] == [hashlib.sha256(first).hexdigest()] * 2
    assert jobs[0].file_size == len(first)
    (tmp_path / "a.zip").write_bytes(first)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        originals = [n for n in names if n.startswith("images/")]
        sources = [p.read_bytes() for p in world.settings.uploads_directory.rglob("*.png")]
        assert sorted(archive.read(n) for n in originals) == sorted(sources)
        sums = archive.read("SHA256SUMS").decode().splitlines()
    assert {line.split("  ", 1)[1] for line in sums} == set(names) - {"manifest.json", "SHA256SUMS"}


async def test_a_start_that_is_not_allowed_starts_nothing(slow_world: World) -> None:
    world = slow_world
    async with world.service(max_active_jobs_per_user=1, max_running_jobs=1, max_queued_jobs=0) as service:
        with pytest.raises(ProjectForbidden):
            await service.start(world.alice, NOBODY, DOCS)
        unknown = StartRequest(options=ExportOptions(include_documentation=True, selected_image_ids=(NOBODY,)))
        with pytest.raises(InvalidRequest, match=r"selectedImageIds\[0\]"):
            await service.start(world.alice, world.project_id, unknown)
        job = await service.start(world.alice, world.project_id, FULL)
        with pytest.raises(TooManyActive):
            await service.start(world.alice, world.project_id, FULL)
        with pytest.raises(QueueFull):
            await service.start(world.bob, world.project_id, FULL)
        await service.cancel(world.alice, world.project_id, job.id)
        assert len(service._registry.all()) == 1


async def test_four_starts_at_once_do_not_pass_the_cap(slow_world: World) -> None:
    world = slow_world
    outcomes: list[str] = []

    async def start(service: Service) -> None:
        try:
            outcomes.append((await service.start(world.alice, world.project_id, FULL)).id)
        except TooManyActive:
            outcomes.append("refused")

    async with world.service(max_active_jobs_per_user=1) as service, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(start, service)
    assert outcomes.count("refused") == 3


async def test_a_retry_under_a_key_is_the_same_job_also_at_once_and_after_a_restart(world: World) -> None:
    ids: set[str] = set()

    async def start(service: Service) -> None:
        ids.add((await service.start(world.alice, world.project_id, DOCS, "key")).id)

    async with world.service(max_active_jobs_per_user=1) as service:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(start, service)
        with pytest.raises(IdempotencyMismatch):
            await service.start(world.alice, world.project_id, FULL, "key")
        await service._supervisor.wait_concluded(*ids)
    async with world.service() as service:
        await start(service)
    assert len(ids) == 1


async def test_a_completed_export_cannot_be_cancelled_and_a_cancelled_one_is_gone(slow_world: World) -> None:
    world = slow_world
    async with world.service() as service:
        done = await finished(service, world)
        with pytest.raises(ExportCompleted) as caught:
            await service.cancel(world.alice, world.project_id, done.id)
        assert caught.value.times["completedAt"] is not None
        job = await service.start(world.alice, world.project_id, FULL)
        with pytest.raises(ExportNotReady):
            await service.open_download(world.alice, world.project_id, job.id)
        with pytest.raises(ExportActive):
            await service.delete(world.alice, world.project_id, job.id)
        cancelled, decided = await service.cancel(world.alice, world.project_id, job.id)
        again, second = await service.cancel(world.alice, world.project_id, job.id)
        assert (decided, second, again) == (True, False, cancelled)
        with pytest.raises(ExportCancelled):
            await service.open_download(world.alice, world.project_id, job.id)
        assert world.files() == [f"archives/{done.id}.zip"]


async def test_who_may_cancel_and_delete(slow_world: World) -> None:
    world = slow_world
    async with world.service() as service:
        alices = await service.start(world.alice, world.project_id, FULL)
        bobs = await service.start(world.bob, world.project_id, FULL)
        for call in (service.cancel, service.delete):
            with pytest.raises(NotAllowed):
                await call(world.bob, world.project_id, alices.id)
        job, _ = await service.cancel(world.alice, world.project_id, bobs.id)  # the project's owner
        assert (job.cancelled_by, job.actor) == ("user", world.alice.id)
        await service.cancel(world.alice, world.project_id, alices.id)


async def test_a_stranger_sees_what_is_not_there(world: World) -> None:
    async with world.service() as service:
        job = await finished(service, world, DOCS)
        world.share(world.bob.email, ShareStatus.REVOKED)
        calls: list[Callable[..., Awaitable[object]]] = [
            service.status,
            service.cancel,
            service.open_download,
            service.delete,
            service.audit,
        ]
        for call in calls:
            told = []
            for job_id in (job.id, NOBODY):
                with pytest.raises(NotFound) as caught:
                    await call(world.bob, world.project_id, job_id)
                told.append(str(caught.value))
            assert told[0] == told[1]
        assert await service.exports(world.bob) == await service.projects(world.bob) == []


async def test_access_lost_meanwhile_cancels_at_the_commit(slow_world: World) -> None:
    world = slow_world
    async with world.service() as service:
        job = await service.start(world.bob, world.project_id, FULL)
        world.share(world.bob.email, ShareStatus.REVOKED)
        job = await service._supervisor.wait_concluded(job.id)
        assert (job.status, job.cancelled_by, job.reason) == ("cancelled", "system", Reason.ACCESS_REVOKED)
        assert world.files() == []


async def test_a_job_over_its_time_is_cancelled_by_timeout(slow_world: World) -> None:
    world = slow_world
    async with world.service(job_timeout=0.05) as service:
        job = await finished(service, world)
        assert (job.status, job.cancelled_by, job.reason) == ("cancelled", "timeout", Reason.TIMEOUT)
        assert world.files() == []


async def test_a_pending_job_knows_its_place_and_is_cancelled_without_ever_starting(slow_world: World) -> None:
    world = slow_world
    async with world.service(max_running_jobs=1) as service:
        first = await service.start(world.alice, world.project_id, FULL)
        waiting = await service.start(world.alice, world.project_id, FULL)
        assert (await service.status(world.alice, world.project_id, waiting.id))["queuePosition"] == 1
        job, _ = await service.cancel(world.alice, world.project_id, waiting.id)
        assert (job.status, job.started_at, job.terminal_seq) == ("cancelled", None, 1)
        assert (await service._supervisor.wait_concluded(first.id)).status == "completed"


async def test_an_empty_project_fails_with_a_sentence(world_of: Callable[[int], World]) -> None:
    world = world_of(1)
    for image in world.settings.uploads_directory.rglob("*.png"):
        image.write_bytes(b"")
    async with world.service() as service:
        job = await finished(service, world)
        assert (job.status, job.error_code) == ("failed", "SOURCE_ERROR")
        assert job.error
        assert str(world.settings.data) not in job.error
        assert world.files() == []


async def test_a_bad_image_costs_that_image_only(world: World) -> None:
    bad = min(world.settings.uploads_directory.rglob("*.png"))
    bad.unlink()
    async with world.service() as service:
        job = await finished(service, world)
        assert (job.status, job.total_images, len(job.warnings)) == ("completed", 2, 1)


async def test_a_full_disk_is_507_before_and_insufficient_space_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.service(disk_reserve=Reserve(1 << 60, None)) as service:
        with pytest.raises(InsufficientSpace):
            await service.start(world.alice, world.project_id, FULL)
    async with world.service() as service:
        free = service._artifacts.free()
        answers = iter([free, 0])
        monkeypatch.setattr(service._artifacts, "free", lambda: next(answers, 0))
        job = await finished(service, world)
        assert (job.status, job.error_code, job.retryable) == ("failed", "INSUFFICIENT_SPACE", True)
        assert world.files() == []


async def test_an_archive_expires_and_who_has_it_open_reads_on(world: World) -> None:
    async with world.service() as service:
        job = await finished(service, world, DOCS)
        with await service.open_download(world.alice, world.project_id, job.id) as download:
            await service._retention.expire(job.id)
            assert len(os.pread(download.fd, download.size, 0)) == job.file_size
        with pytest.raises(ExportExpired):
            await service.open_download(world.alice, world.project_id, job.id)
        assert (await service.status(world.alice, world.project_id, job.id))["status"] == "completed"
        assert world.files() == []


async def test_a_deleted_export_leaves_its_audit_trail_and_nothing_else(world: World) -> None:
    async with world.service() as service:
        job = await finished(service, world, DOCS)
        await service.delete(world.alice, world.project_id, job.id)
        with pytest.raises(NotFound):
            await service.status(world.alice, world.project_id, job.id)
        assert world.files() == []
        assert [t.to for t in read_audit(world.settings.data, job.id)] == ["pending", "processing", "completed"]


async def test_a_drain_cancels_what_does_not_end_in_time_and_takes_nothing_new(slow_world: World) -> None:
    world = slow_world
    async with world.service() as service:
        job = await service.start(world.alice, world.project_id, FULL)
        with service.watch(world.alice) as feed:
            await service.drain(0)
            names = [(await feed.receive()).event]
            with pytest.raises(trio.EndOfChannel):
                await feed.receive()
        job = service._registry.get(job.id)
        assert (job.status, job.cancelled_by, job.reason) == ("cancelled", "system", Reason.SHUTDOWN)
        assert names == ["export:cancelled"]
        with pytest.raises(ShuttingDown):
            await service.start(world.alice, world.project_id, FULL)
        assert world.files() == []


async def test_what_was_unfinished_is_failed_after_a_restart(world: World) -> None:
    async with world.service() as service:
        done = await finished(service, world, DOCS)
        archive = content(service, done)
        job = await service.start(world.alice, world.project_id, FULL)
        await service.cancel(world.alice, world.project_id, job.id)
    # As a crash leaves it: the row of before, a staging file, an orphan archive.
    crashed = Job(NOBODY, world.project_id, "T", world.alice, FULL.options, datetime.now(UTC), State.PROCESSING)
    with closing(Journal(world.settings.data)) as journal:
        journal.commit([SaveJob(crashed)])
    for name in (f"staging/{NOBODY}.zip", f"archives/{NOBODY}.zip"):
        (world.settings.data / name).write_bytes(b"torn")
    async with world.service() as service:
        found = service._registry.get(NOBODY)
        assert (found.status, found.error_code, found.retryable) == ("failed", "INTERRUPTED", True)
        assert service._registry.get(job.id).status == "cancelled"
        assert content(service, service._registry.get(done.id)) == archive
        assert world.files() == [f"archives/{done.id}.zip"]
        with service.watch(world.alice) as feed:
            feed.subscribe(job_id=NOBODY, since=57)
            assert (await feed.receive()).event == "export:failed"


async def test_records_go_when_their_time_is_over(world: World) -> None:
    late = datetime.now(UTC) + timedelta(days=31)
    async with world.service() as service:
        job = await finished(service, world, DOCS)
        service._retention._now = lambda: late
        await service._retention.round()
        assert service._registry.all() == []
        assert world.files() == []
        assert read_audit(world.settings.data, job.id) == []


async def test_a_sweep_takes_nothing_of_an_export_that_ends_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def late(artifacts: Artifacts, *args: Any) -> Any:
        jobs.append(trio.from_thread.run(finished, service, world))
        return sweep(artifacts, *args)

    sweep = Artifacts.sweep
    async with world.service() as service:
        monkeypatch.setattr(Artifacts, "sweep", late)
        await service._retention.round()
        assert jobs
        for job in jobs:
            assert hashlib.sha256(content(service, job)).hexdigest() == job.sha256


async def test_an_orphan_that_cannot_be_removed_keeps_the_service_from_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "planted")

    orphan = world.settings.data / f"staging/{NOBODY}.scratch"
    orphan.mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        async with world.service() as service:
            assert (await finished(service, world, DOCS)).status == "completed"
            await service._retention.round()
            assert orphan.exists()
    async with world.service():
        assert not orphan.exists()


async def test_a_start_that_has_no_room_for_its_journal_is_refused_in_words_after_making_some(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(journal: Journal, changes: object) -> None:
        assert world.files() == []  # what the crash has left may be what fills the disk
        raise InsufficientSpace("planted")

    async with world.service():
        pass
    crashed = Job(NOBODY, world.project_id, "T", world.alice, FULL.options, datetime.now(UTC), State.PROCESSING)
    with closing(Journal(world.settings.data)) as journal:
        journal.commit([SaveJob(crashed)])
    (world.settings.data / f"staging/{NOBODY}.zip").write_bytes(b"torn")
    monkeypatch.setattr(Journal, "commit", refuse)
    with pytest.raises(DataDirectoryUnusable, match="make room"):
        async with world.service():
            pass


async def test_a_start_that_may_not_look_at_its_archives_is_refused_and_takes_none_for_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(artifacts: Artifacts, job_id: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    async with world.service() as service:
        job = await finished(service, world, DOCS)
    with monkeypatch.context() as patched:
        patched.setattr(Artifacts, "size", refuse)
        with pytest.raises(DataDirectoryUnusable, match="Permission denied"):
            async with world.service():
                pass
    async with world.service() as service:
        assert hashlib.sha256(content(service, service._registry.get(job.id))).hexdigest() == job.sha256


async def test_a_second_service_on_the_same_directory_is_refused(world: World) -> None:
    async with world.service():
        with pytest.raises(DataDirectoryInUse):
            async with world.service():
                pass


async def test_an_error_after_the_commit_does_not_keep_the_job_alive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(staged: Staged) -> None:
        os.close(staged._fd)
        staged._fd = -1
        raise OSError(errno.EIO, "planted")

    monkeypatch.setattr(Staged, "close", close)
    async with world.service() as service:
        job = await finished(service, world, DOCS)
        assert (job.status, world.files()) == ("completed", [f"archives/{job.id}.zip"])


async def test_a_cancel_is_answered_when_the_descriptors_are_closed_however_long_it_takes(
    slow_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Staged.close

    def slowly(staged: Staged) -> None:
        asked.wait(PATIENCE)  # that the cancel is answered now would be too early
        close(staged)

    asked = threading.Event()
    monkeypatch.setattr(Staged, "close", slowly)
    async with slow_world.service() as service, trio.open_nursery() as nursery:
        with service.watch(slow_world.alice) as feed, trio.fail_after(PATIENCE):
            job = await service.start(slow_world.alice, slow_world.project_id, FULL)
            while (await feed.receive()).event != "export:progress":
                pass

            async def let_go() -> None:
                while slow_world.files():  # noqa: ASYNC110
                    await trio.sleep(0.001)
                await trio.testing.wait_all_tasks_blocked(0.05)
                asked.set()

            nursery.start_soon(let_go)
            job, _ = await service.cancel(slow_world.alice, slow_world.project_id, job.id)
            assert (job.status, job.cleanup_completed) == ("cancelled", True)
            assert not held_files()


async def test_a_removal_that_outlasts_its_deadline_does_not_keep_the_descriptors_open(
    slow_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Staged.unlink

    def past_the_deadline(staged: Staged) -> None:
        unlink(staged)
        deadline = time.monotonic() + 2 * supervisor.CLEANUP_DEADLINE
        while time.monotonic() < deadline:
            time.sleep(0.01)

    monkeypatch.setattr(supervisor, "CLEANUP_DEADLINE", 0.1)
    monkeypatch.setattr(Staged, "unlink", past_the_deadline)
    async with slow_world.service() as service:
        with service.watch(slow_world.alice) as feed, trio.fail_after(PATIENCE):
            job = await service.start(slow_world.alice, slow_world.project_id, FULL)
            while (await feed.receive()).event != "export:progress":
                pass
            await service.cancel(slow_world.alice, slow_world.project_id, job.id)
        assert not held_files()


async def test_a_file_that_cannot_be_removed_is_admitted_closed_and_swept_at_the_next_start(
    slow_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(staged: Staged) -> None:
        raise OSError(errno.EIO, "planted")

    async with slow_world.service() as service:
        with monkeypatch.context() as patched, service.watch(slow_world.alice) as feed, trio.fail_after(PATIENCE):
            patched.setattr(Staged, "unlink", refuse)
            job = await service.start(slow_world.alice, slow_world.project_id, FULL)
            while (await feed.receive()).event != "export:progress":
                pass
            job, _ = await service.cancel(slow_world.alice, slow_world.project_id, job.id)
        assert (job.status, job.cleanup_completed) == ("cancelled", False)
        assert slow_world.files() == [f"staging/{job.id}.zip"]
    assert not held_files()
    async with slow_world.service():
        assert slow_world.files() == []


def test_a_scratch_folder_that_cannot_be_removed_does_not_keep_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, "planted")

    staged = Artifacts(tmp_path, Reserve(0, None)).stage("j")
    (staged.scratch() / "rows").touch()
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(OSError, match="planted"):
        staged.unlink()
    staged.close()
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["j.scratch"]
