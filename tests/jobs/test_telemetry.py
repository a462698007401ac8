"""What operators see: counts that agree with what happened, lines that agree with the audit trail."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from conftest import World
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.core.states import State
from exportd.jobs import readiness
from exportd.jobs.service import Service, open_service
from exportd.jobs.telemetry import SHOWN
from exportd.settings import Reserve
from exportd.store.journal import Journal, SaveJob, read_audit

FULL = StartRequest(options=ExportOptions(include_original_images=True, include_visualizations=True))
NOBODY = "00000000-0000-4000-8000-000000000000"
PATIENCE = 60


async def samples(service: Service) -> dict[tuple[str, ...], float]:
    """Value by name and the values of the labels, by their names."""
    text = (await service.metrics()).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def run(service: Service, world: World, *, cancel: bool = False) -> Job:
    with service.watch(world.alice) as feed, trio.fail_after(PATIENCE):
        job = await service.start(world.alice, world.project_id, FULL)
        if cancel:
            job, _ = await service.cancel(world.alice, world.project_id, job.id)
        feed.subscribe(job_id=job.id, since=0)
        while (await feed.receive()).event not in {"export:completed", "export:cancelled", "export:failed"}:
            pass
        await service._supervisor._wait_idle()  # the end is told a moment before the job's place is free
    return service._registry.get(job.id)


async def test_what_happened_is_counted(world: World) -> None:
    async with world.service() as service:
        before = await samples(service)
        assert {before["exportd_jobs", state.value] for state in SHOWN} == {0}, "each is told, also when there is none"
        done = await run(service, world)
        gone = await run(service, world, cancel=True)
        with service.watch(world.alice), service.watch(world.bob):
            now = await samples(service)
        assert (done.status, gone.status) == ("completed", "cancelled")
        assert (now["exportd_jobs", "completed"], now["exportd_jobs", "cancelled"]) == (1, 1)
        assert now["exportd_transitions_total", "committed", "completed"] == 1
        assert now["exportd_transitions_total", "user_cancellation", "cancelled"] == 1
        assert now["exportd_transitions_total", "submitted", "pending"] == 2
        assert now["exportd_run_seconds_count", "completed"] == 1
        assert 0 < now["exportd_run_seconds_sum", "completed"] < PATIENCE
        assert now["exportd_cancel_seconds_count", "user"] == 1
        assert now["exportd_cleanups_overdue_total",] == 0
        assert (now["exportd_archives",], now["exportd_archive_bytes",]) == (1, done.file_size)
        assert now["exportd_written_bytes_total",] >= (done.file_size or 0) > 0
        assert (now["exportd_watchers",], now["exportd_running_jobs",], now["exportd_draining",]) == (2, 0, 0)
        assert now["exportd_free_bytes",] > 0
        await service.drain(0)
        assert (await samples(service))["exportd_draining",] == 1


async def test_labels_have_few_values_and_name_nobody(world: World) -> None:
    async with world.service() as service:
        job = await run(service, world)
        text = (await service.metrics()).decode()
    allowed = {"status", "to", "reason", "by", "le", "version"}
    found = {
        label for family in text_string_to_metric_families(text) for sample in family.samples for label in sample.labels
    }
    assert found <= allowed
    assert not any(name in text for name in (job.id, job.user.id, job.user.email, job.project_id, job.project_name))


async def test_a_full_queue_and_its_waiting_are_told(slow_world: World) -> None:
    async with slow_world.service(max_running_jobs=1) as service:
        for _ in range(3):
            await service.start(slow_world.alice, slow_world.project_id, FULL)
        now = await samples(service)
        assert (now["exportd_running_jobs",], now["exportd_queued_jobs",]) == (1, 2)


async def test_two_services_share_no_counts(world: World) -> None:
    async with world.service() as service:
        await run(service, world)
    async with world.service() as service:
        now = await samples(service)
    assert ("exportd_transitions_total", "committed", "completed") not in now
    assert now["exportd_jobs", "completed"] == 1, "what is on record is"


def transitions(lines: list[Any]) -> Iterator[dict[str, Any]]:
    return (line for line in lines if line["event"] == "transition")


async def test_the_log_has_the_lines_of_the_audit_trail(world: World) -> None:
    with capture_logs() as lines:
        async with world.service() as service:
            jobs = [await run(service, world), await run(service, world, cancel=True)]
    for job in jobs:
        told = [line for line in transitions(lines) if line["job"] == job.id]
        kept = read_audit(world.settings.data, job.id)
        assert [(t["before"], t["to"], t["reason"], t["actor"]) for t in told] == [
            (row.before, row.to, row.reason.value, row.actor) for row in kept
        ]
        assert {t["user"] for t in told} == {world.alice.id}
        assert all(t["seconds"] >= 0 for t in told[1:])
    last = [line for line in transitions(lines) if line["job"] == jobs[1].id][-1]
    assert (last["by"], last["cleaned"]) == ("user", True)
    assert last["cancel_seconds"] >= 0
    assert "@" not in str(list(transitions(lines))), "ids, no addresses"


async def test_a_clock_that_jumps_back_does_not_spoil_the_durations(world: World) -> None:
    moments = (datetime(2026, 1, 31, tzinfo=UTC) - timedelta(days=n) for n in range(1000))
    with capture_logs() as lines:
        async with open_service(world.settings, lambda: next(moments)) as service:
            await run(service, world, cancel=True)
            now = await samples(service)
    assert 0 <= now["exportd_cancel_seconds_sum", "user"] < PATIENCE
    assert all(line.get("seconds", 0) >= 0 for line in transitions(lines))


async def test_what_a_crash_has_interrupted_is_counted_and_logged(world: World) -> None:
    async with world.service():
        pass
    torn = Job(NOBODY, world.project_id, "T", world.alice, FULL.options, datetime.now(UTC), State.PROCESSING)
    with closing(Journal(world.settings.data)) as journal:
        journal.commit([SaveJob(torn)])
    with capture_logs() as lines:
        async with world.service() as service:
            now = await samples(service)
    assert now["exportd_transitions_total", "interrupted", "failed"] == 1
    (line,) = transitions(lines)
    assert (line["job"], line["to"], line["code"]) == (NOBODY, "failed", "INTERRUPTED")


# --- readiness -----------------------------------------------------------------------------------------------------


async def test_what_works_is_ready(world: World) -> None:
    async with world.service() as service:
        checks = await service.check()
    assert checks.ready
    assert checks.as_wire() == {"catalogue": "ok", "journal": "ok", "space": "ok"}


async def test_a_full_disk_is_told_and_does_not_take_the_service_away(world: World) -> None:
    async with world.service(disk_reserve=Reserve(1 << 60, None)) as service:
        checks = await service.check()
    assert (checks.space, checks.ready) == ("full", True)


async def test_a_catalogue_that_is_gone_is_not_ready_until_it_is_back(world: World) -> None:
    async with world.service() as service:
        with closing(sqlite3.connect(world.settings.data / "catalogue.db")) as other:
            other.execute("ALTER TABLE projects RENAME TO gone")
            checks = await service.check()
            assert (checks.catalogue, checks.ready) == ("failing", False)
            other.execute("ALTER TABLE gone RENAME TO projects")
        assert (await service.check()).ready


async def test_a_journal_that_takes_nothing_is_not_ready_until_it_does(world: World) -> None:
    async with world.service() as service:
        journal = service._ledger._journal
        journal._db.execute("PRAGMA query_only = ON")
        with pytest.raises(PermissionError):
            await service.start(world.alice, world.project_id, FULL)
        assert (await service.check()).journal == "failing"
        assert (await service.check()).journal == "failing", "it is tried again, and fails again"
        journal._db.execute("PRAGMA query_only = OFF")
        assert (await service.check()).ready


async def test_a_check_that_hangs_holds_one_thread_and_is_not_ready(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE", 0.01)
    async with world.service() as service:
        hanging = object()
        await service._readiness._one.acquire_on_behalf_of(hanging)
        with trio.fail_after(PATIENCE):
            assert (await service.check()).catalogue == "failing"
        service._readiness._one.release_on_behalf_of(hanging)
        assert (await service.check()).ready
