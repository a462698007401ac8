"""An export shows its project at one moment, whatever happens to the database meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
import trio
from conftest import World
from gateway import Gateway, open_gateway
from postgres import Platform, eventually

from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.errors import SourceUnavailable
from exportd.jobs.pace import Pace
from exportd.jobs.service import CATALOGUE_PATIENCE, Service
from exportd.store import postgresql
from exportd.store.embedded import EmbeddedCatalogue, ShareStatus
from exportd.store.tables import images, projects, segmentations

EXPORT = StartRequest(
    options=ExportOptions(
        include_original_images=True,
        annotation_formats=("coco", "json"),
        metrics_formats=("csv",),
        include_documentation=True,
    )
)
PATIENCE = 60
SOON = 2.0
"""Seconds; far less than any time limit of the database, and more than a cancel takes on a busy machine."""


class Looks:
    """Counts the looks of the exports' worker threads, and acts at one of them, in the thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._act: Callable[[], object] | None = None
        self._left = self.counted = 0
        self._one = threading.Lock()
        real = Pace.look

        def look(pace: Pace) -> None:
            with self._one:
                self._count()
            real(pace)

        monkeypatch.setattr(Pace, "look", look)

    def _count(self) -> None:
        self.counted += 1
        self._left -= 1
        if self._left < 0 and self._act is not None:
            act, self._act = self._act, None
            act()

    def at(self, number: int, act: Callable[[], object]) -> None:
        """Acts at the look with this number, counted from 0 and from now."""
        self._left, self._act = number, act

    def acted(self) -> bool:
        return self._act is None


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tiny_world: World) -> World:
    """A world whose projects stand in the one or the other database."""
    if request.param == "sqlite":
        return tiny_world
    move: Callable[[World], World] = request.getfixturevalue("beside")
    return move(tiny_world)


@pytest.fixture
def away(tiny_world: World, beside: Callable[[World], World]) -> World:
    return beside(tiny_world)


async def exported(service: Service, world: World) -> Job:
    job = await service.start(world.alice, world.project_id, EXPORT)
    with trio.fail_after(PATIENCE):
        return await service._supervisor.wait_concluded(job.id)


async def last_look(service: Service, world: World, looks: Looks) -> int:
    """Its number: all is read and written by then, and the archive is put on the disk."""
    looks.counted = 0
    assert (await exported(service, world)).status == "completed"
    return looks.counted - 1


def change_everything(world: World) -> None:
    """What a busy user does to a project."""
    with (
        closing(world.platform or EmbeddedCatalogue(world.settings.data)) as catalogue,
        catalogue._transaction() as now,
    ):
        now.execute(projects.update().values(type="wound"))
        now.execute(images.update().values(name=sa.literal("new ").concat(images.c.name), width=7))
        (first, *_) = now.execute(sa.select(images.c.id).order_by(images.c.id)).scalars()
        now.execute(segmentations.update().values(polygons="[]"))
        now.execute(segmentations.delete().where(segmentations.c.imageId == first))
        now.execute(images.delete().where(images.c.id == first))


@pytest.mark.parametrize("at", [0, 3])
async def test_what_changes_while_an_export_reads_is_not_in_it(either: World, looks: Looks, at: int) -> None:
    async with either.service() as service:
        before = await exported(service, either)
        looks.at(at, lambda: change_everything(either))
        during = await exported(service, either)
        after = await exported(service, either)
    assert [job.status for job in (before, during, after)] == ["completed"] * 3
    assert during.sha256 == before.sha256
    assert after.sha256 != before.sha256
    assert (during.total_images, after.total_images) == (2, 1)


async def test_a_crash_of_the_database_while_it_is_read_fails_that_export_alone(away: World, looks: Looks) -> None:
    assert away.platform is not None
    server = away.platform.server
    async with away.service() as service:
        looks.at(1, lambda: server.restart(at_once=True))
        failed = await exported(service, away)
        assert (failed.status, failed.error_code, failed.retryable) == ("failed", "SOURCE_ERROR", True)
        assert "try again" in (failed.error or "")
        assert away.files() == []
        assert (await exported(service, away)).status == "completed"


async def test_a_restart_of_the_database_after_all_is_read_does_not_matter(away: World, looks: Looks) -> None:
    assert away.platform is not None
    server = away.platform.server
    async with away.service() as service:
        last = await last_look(service, away, looks)
        looks.at(last, lambda: server.restart(at_once=True))
        assert (await exported(service, away)).status == "completed"
        assert looks.acted()


async def test_a_database_that_is_away_at_the_commit_fails_the_export(away: World, looks: Looks) -> None:
    """Whether the user still has access cannot be known, so nothing is published."""
    assert away.platform is not None
    server = away.platform.server
    async with away.service() as service:
        last = await last_look(service, away, looks)
        looks.at(last, server.stop)
        job = await service.start(away.alice, away.project_id, EXPORT)
        job = await service._supervisor.wait_concluded(job.id)
        try:
            assert (job.status, job.error_code, job.retryable) == ("failed", "SOURCE_ERROR", True)
            with pytest.raises(SourceUnavailable):
                await service.start(away.alice, away.project_id, EXPORT)
        finally:
            server.start()
        assert (await exported(service, away)).status == "completed"
        assert len(away.files()) == 2, "the archives of the first and of the last export"


async def test_the_transaction_is_over_when_all_is_read(away: World, looks: Looks) -> None:
    platform = away.platform
    assert platform is not None
    seen: list[list[str]] = []
    async with away.service() as service:
        last = await last_look(service, away, looks)
        for at in (0, last):
            looks.at(at, lambda: seen.append([state for state, _ in platform.sessions()]))
            await exported(service, away)
    assert "idle in transaction" in seen[0]
    assert set(seen[1]) == {"idle"}


async def test_a_cancel_does_not_wait_for_the_database(away: World, looks: Looks) -> None:
    platform = away.platform
    assert platform is not None
    with platform.connect() as session:
        async with away.service() as service:
            looks.at(0, lambda: session.execute("LOCK TABLE segmentations IN ACCESS EXCLUSIVE MODE"))
            job = await service.start(away.alice, away.project_id, EXPORT)
            await trio.to_thread.run_sync(eventually, lambda: waits(platform))
            begun = time.monotonic()
            cancelled, _ = await service.cancel(away.alice, away.project_id, job.id)
            assert time.monotonic() - begun < SOON
            assert (cancelled.status, cancelled.cleanup_completed) == ("cancelled", True)
            assert away.files() == []
            session.rollback()
            assert (await exported(service, away)).status == "completed"


def waits(platform: Platform) -> bool:
    """Whether an export's query waits for a lock."""
    return any(state == "active" and "segmentations" in query for state, query in platform.sessions())


# --- a database that takes connections and says nothing ------------------------------------------------------------------


@pytest.fixture
def gateway(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(postgresql, "CONNECT_TIMEOUT", 1000)
    with open_gateway(f"{platform.server.directory}/.s.PGSQL.5432") as gateway:
        yield gateway


@pytest.fixture
def behind_it(away: World, platform: Platform, gateway: Gateway) -> World:
    url = f"postgresql://platform@127.0.0.1:{gateway.port}/{platform.name}"
    return replace(away, settings=away.settings.model_copy(update={"database_url": url}))


async def reaching(gateway: Gateway, clients: int) -> None:
    """So many wait for a word."""
    with trio.fail_after(PATIENCE):
        while gateway.ignored < clients:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_a_cancel_does_not_wait_for_the_connection_of_its_export(behind_it: World, gateway: Gateway) -> None:
    async with behind_it.service() as service:
        gateway.mute = True
        job = await service.start(behind_it.alice, behind_it.project_id, EXPORT)
        await reaching(gateway, 1)
        begun = trio.current_time()
        cancelled, _ = await service.cancel(behind_it.alice, behind_it.project_id, job.id)
        assert trio.current_time() - begun < SOON
        assert (cancelled.status, cancelled.cleanup_completed) == ("cancelled", True)
        assert gateway.hung_up()
        assert not behind_it.files()
        gateway.mute = False
        assert (await exported(service, behind_it)).status == "completed"


async def test_a_cancel_does_not_wait_for_the_connection_of_the_commit(
    behind_it: World, gateway: Gateway, looks: Looks
) -> None:
    async with behind_it.service() as service:
        last = await last_look(service, behind_it, looks)

        def away() -> None:  # the connections of before are gone, new ones are not answered
            gateway.mute = True
            service.catalogue.close()

        looks.at(last, away)
        job = await service.start(behind_it.alice, behind_it.project_id, EXPORT)
        await reaching(gateway, 1)
        begun = trio.current_time()
        cancelled, _ = await service.cancel(behind_it.alice, behind_it.project_id, job.id)
        assert trio.current_time() - begun < CATALOGUE_PATIENCE + SOON
        assert (cancelled.status, cancelled.cleanup_completed) == ("cancelled", True)


async def test_whose_export_it_is_cancels_it_while_nobody_knows_who_has_access(
    behind_it: World, gateway: Gateway
) -> None:
    behind_it.share(behind_it.bob.email, ShareStatus.ACCEPTED)
    async with behind_it.service() as service:
        gateway.mute = True
        job = await service.start(behind_it.bob, behind_it.project_id, EXPORT)
        await reaching(gateway, 1)
        service.catalogue.close()
        with trio.move_on_after(2 * CATALOGUE_PATIENCE) as asked:
            await service.cancel(behind_it.alice, behind_it.project_id, job.id)
        assert asked.cancelled_caught, "the project's owner has to be known for it"
        cancelled, _ = await service.cancel(behind_it.bob, behind_it.project_id, job.id)
        assert (cancelled.cancelled_by, cancelled.actor) == ("user", behind_it.bob.id)
