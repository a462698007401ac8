"""A journal that cannot be written: what was told stays true, and nothing is told that is not. The refusals are SQLite's own,
by a trigger."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import trio
import trio.testing
from conftest import World

from exportd.core.events import TERMINAL
from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.errors import NotFound
from exportd.jobs.retention import SWEEP_INTERVAL
from exportd.jobs.service import Service
from exportd.store.journal import FILE_NAME, read_audit

DOCS = StartRequest(options=ExportOptions(include_documentation=True))
FULL = StartRequest(options=ExportOptions(include_original_images=True, annotation_formats=("coco",)))
PATIENCE = 30
SHORT, LONG = 0.2, 20.0
"""Seconds that an end waits for its row; the second is never waited out."""


@contextmanager
def refusing(world: World, table: str = "transitions", when: str = "1", doing: str = "INSERT") -> Iterator[None]:
    """Within it rows of the table are refused, where `when` holds of them."""
    with closing(sqlite3.connect(world.settings.data / FILE_NAME, isolation_level=None)) as db:
        db.execute(
            f"CREATE TRIGGER planted BEFORE {doing} ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, 'planted'); END"
        )
        try:
            yield
        finally:
            db.execute("DROP TRIGGER planted")


@dataclass
class Watched:
    service: Service
    events: list[str] = field(default_factory=list)

    async def ended(self, job: Job) -> Job:
        with trio.fail_after(PATIENCE):
            return await self.service._supervisor.wait_concluded(job.id)


@asynccontextmanager
async def watched(world: World, cleanup: float = SHORT) -> AsyncIterator[Watched]:
    """The service, and all that alice is told of her jobs."""
    async with world.service(cleanup_timeout=cleanup) as service:
        run = Watched(service)
        with service.watch(world.alice) as feed:
            yield run
            while len(feed._outbox):
                run.events.append((await feed.receive()).event)


def trail(world: World, job: Job) -> list[tuple[str | None, str]]:
    return [(row.before, row.to) for row in read_audit(world.settings.data, job.id)]


async def written(service: Service) -> None:
    with trio.fail_after(PATIENCE):
        while service._ledger.owes:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_a_start_that_cannot_be_written_down_leaves_nothing(world: World) -> None:
    async with watched(world) as run:
        with refusing(world), pytest.raises(sqlite3.IntegrityError, match="planted"):
            await run.service.start(world.alice, world.project_id, DOCS, "key")
        assert run.service._registry.all() == []
        await trio.testing.wait_all_tasks_blocked()
        assert run.service._supervisor._lives == {}
        again = await run.ended(await run.service.start(world.alice, world.project_id, DOCS, "key"))
        assert again.status == "completed"
    assert [event for event in run.events if event in TERMINAL] == ["export:completed"]


async def test_an_export_whose_start_cannot_be_written_down_fails_with_a_whole_trail(world: World) -> None:
    async with watched(world) as run:
        with refusing(world, when="NEW.\"to\" = 'processing'"):
            job = await run.ended(await run.service.start(world.alice, world.project_id, DOCS))
        assert (job.status, job.error_code) == ("failed", "UNKNOWN")
        await written(run.service)
        assert trail(world, job) == [(None, "pending"), ("pending", "processing"), ("processing", "failed")]
    assert run.events == ["export:failed"]


async def test_a_completion_that_cannot_be_written_down_is_a_failure_and_shows_nothing_of_a_result(
    world: World,
) -> None:
    async with watched(world) as run:
        with refusing(world, when="NEW.\"to\" = 'completed'"):
            job = await run.ended(await run.service.start(world.alice, world.project_id, DOCS))
        assert (job.status, world.files()) == ("failed", [])
        assert job.progress.percent < 100
        assert (job.expires_at, job.sha256, job.completed_at) == (None, None, None)
        assert trail(world, job)[-1] == ("processing", "failed")
        # What a failed export would have expired with must not keep retention busy for ever.
        run.service._retention._now = lambda: run.service._now() + timedelta(days=2)
        assert run.service._retention._pause() == SWEEP_INTERVAL
    assert [event for event in run.events if event in TERMINAL] == ["export:failed"]


@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
async def test_a_cancel_is_written_down_when_that_is_possible_again(slow_world: World, late: bool) -> None:
    world = slow_world
    async with watched(world, SHORT if late else LONG) as run, trio.open_nursery() as nursery:
        job = await run.service.start(world.alice, world.project_id, FULL)
        answers: list[Job] = []

        async def cancel() -> None:
            answers.append((await run.service.cancel(world.alice, world.project_id, job.id))[0])

        with refusing(world, when="NEW.\"to\" = 'cancelled'"):
            nursery.start_soon(cancel)
            with trio.fail_after(PATIENCE):
                while not (answers if late else run.service._ledger.owes):  # noqa: ASYNC110
                    await trio.sleep(0.01)
        await written(run.service)
        job = await run.ended(job)
        # The truth: a cancel without its row is not all that a cancel is.
        assert (job.status, job.cleanup_completed) == ("cancelled", not late)
        assert trail(world, job)[-1][1] == "cancelled"
    assert run.events[-1] == "export:cancelled"
    async with world.service() as service:
        assert service._registry.get(job.id).status == "cancelled"


async def test_a_cancel_that_could_never_be_written_is_tried_at_the_end_for_the_last_time(slow_world: World) -> None:
    world = slow_world
    async with watched(world) as run:
        job = await run.service.start(world.alice, world.project_id, FULL)
        with refusing(world, when="NEW.\"to\" = 'cancelled'"):
            await run.service.cancel(world.alice, world.project_id, job.id)
    async with world.service() as service:
        assert service._registry.get(job.id).status == "cancelled"


async def test_a_deletion_that_cannot_be_written_down_changes_nothing(world: World) -> None:
    async with watched(world) as run:
        job = await run.ended(await run.service.start(world.alice, world.project_id, DOCS))
        with refusing(world, "jobs", doing="DELETE"), pytest.raises(sqlite3.IntegrityError, match="planted"):
            await run.service.delete(world.alice, world.project_id, job.id)
        (await run.service.open_download(world.alice, world.project_id, job.id)).close()
        await run.service.delete(world.alice, world.project_id, job.id)
        with pytest.raises(NotFound):
            await run.service.status(world.alice, world.project_id, job.id)
    assert world.files() == []
    async with world.service() as service:
        assert service._registry.all() == []


async def test_an_expiry_that_cannot_be_written_down_makes_room_even_so(world: World) -> None:
    async with watched(world) as run:
        job = await run.ended(await run.service.start(world.alice, world.project_id, DOCS))
        with refusing(world, "jobs", doing="UPDATE"):
            await run.service._retention.expire(job.id)
            assert world.files() == []
    async with world.service() as service:
        assert service._registry.get(job.id).expired_at is not None


async def test_what_cannot_be_written_keeps_nothing_else_from_it_but_later_changes_of_its_job(world: World) -> None:
    async with watched(world) as run:
        ledger = run.service._ledger
        bad = await run.ended(await run.service.start(world.alice, world.project_id, DOCS))
        good = await run.ended(await run.service.start(world.alice, world.project_id, DOCS))
        with refusing(world, "jobs", when=f"OLD.id = '{bad.id}'", doing="UPDATE"):
            await run.service._retention.expire(bad.id)
            assert ledger.owes == 1
            await run.service.delete(world.alice, world.project_id, good.id)
            # Deleted first and expired afterwards, its record would be there again.
            with pytest.raises(sqlite3.IntegrityError, match="planted"):
                await run.service.delete(world.alice, world.project_id, bad.id)
        await written(run.service)
        await run.service.delete(world.alice, world.project_id, bad.id)
    async with world.service() as service:
        assert service._registry.all() == []
