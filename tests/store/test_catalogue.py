"""Who may see what, and in which order the images of a project stand, by the columns of the contract alone: the same in
the embedded SQLite file, in another one, and in the platform's PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from catalogues import OTHER, PROJECT, STRANGER, T0, image, polygons, three
from postgres import Platform
from sqlalchemy.dialects import postgresql

from exportd.core.users import Access, User
from exportd.errors import SettingsError, SourceError
from exportd.store import catalogue as module
from exportd.store import totals as totals_module
from exportd.store.catalogue import Catalogue, SegmentationRow, open_catalogue
from exportd.store.embedded import EmbeddedCatalogue, NewImage, ShareStatus
from exportd.store.queries import BATCH
from exportd.store.tables import images as images_table
from exportd.store.tables import moment, project_shares, projects, segmentations, users
from exportd.store.totals import Totals

SQLITE = """
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT);
CREATE TABLE projects (id TEXT PRIMARY KEY, title TEXT, type TEXT, userId TEXT);
CREATE TABLE images (id TEXT PRIMARY KEY, name TEXT, originalPath TEXT, projectId TEXT, width INTEGER, height INTEGER,
    mimeType TEXT, fileSize INTEGER, displayOrder INTEGER, parentVideoId TEXT, frameIndex INTEGER,
    isVideoContainer BOOLEAN, createdAt DATETIME, updatedAt DATETIME);
CREATE TABLE segmentations (imageId TEXT, polygons TEXT, model TEXT, threshold REAL, confidence REAL,
    imageWidth INTEGER, imageHeight INTEGER);
CREATE TABLE project_shares (projectId TEXT, sharedWithId TEXT, email TEXT, status TEXT);
"""

ROWS = """
INSERT INTO users (id, email) VALUES ('u1', 'Owner@Example.org');
INSERT INTO projects (id, title, type, "userId") VALUES
    ('p1', 'Videos', 'microtubules', 'u1'), ('p2', 'None', NULL, 'gone');
INSERT INTO images (id, name, "originalPath", "projectId", width, height, "mimeType", "fileSize", "displayOrder",
    "parentVideoId", "frameIndex", "isVideoContainer", "createdAt", "updatedAt") VALUES
    ('v', 'film.nd2', 'film.nd2', 'p1', NULL, NULL, NULL, NULL, NULL, NULL, NULL, true, {t0}, {t0}),
    ('f1', 'f1.png', 'f1.png', 'p1', 9, 8, NULL, 70, NULL, 'v', 1, false, {t0}, {t5}),
    ('f0', 'f0.png', 'f0.png', 'p1', 9, 8, NULL, 30, NULL, 'v', 0, false, {t0}, {t0}),
    ('late', 'late.png', 'l.png', 'p1', 9, 8, 'image/png', NULL, NULL, NULL, NULL, NULL, '2030-01-01T00:00:00Z', NULL),
    ('first', 'z.png', 'z.png', 'p1', 9, 8, 'image/png', 50, 0, NULL, NULL, false, '2031-01-01 00:00:00', {none});
"""

PRISMA_TIMES = {"t0": "1700000000000", "t5": "1700000005000", "none": "'rubbish'"}
"""As Prisma writes them into SQLite."""

TIMESTAMPS = {"t0": "'2023-11-14 22:13:20'", "t5": "'2023-11-14 22:13:25'", "none": "NULL"}


def sqlite_file(folder: Path) -> str:
    """The address of a SQLite file of another program."""
    path = folder / "platform.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SQLITE + ROWS.format(**PRISMA_TIMES))
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedCatalogue]:
    """Whoever fills the catalogue: exportd the embedded one, the platform its own."""
    if request.param == "postgresql":
        yield request.getfixturevalue("platform")
    else:
        with EmbeddedCatalogue(tmp_path) as embedded:
            yield embedded


@pytest.fixture
def owner(writer: EmbeddedCatalogue) -> User:
    return writer.insert(PROJECT, "Title", "spheroid", "owner@example.org", three())


@pytest.fixture
def catalogue(tmp_path: Path, writer: EmbeddedCatalogue, owner: User) -> Iterator[Catalogue]:
    with open_catalogue(writer.url if isinstance(writer, Platform) else None, tmp_path) as catalogue:
        yield catalogue


@pytest.fixture(params=["sqlite", "postgresql"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue that exportd did not make, with a video."""
    if request.param == "postgresql":
        platform: Platform = request.getfixturevalue("platform")
        platform.execute(ROWS.format(**TIMESTAMPS))
        url = platform.url
    else:
        url = sqlite_file(tmp_path)
    with open_catalogue(url, tmp_path / "unused") as catalogue:
        yield catalogue


def share(writer: EmbeddedCatalogue, shared_with: str | None, email: str | None) -> None:
    """A share as it may stand in a database, whether or not it makes sense."""
    with writer._transaction() as connection:
        row = {"projectId": PROJECT, "sharedWithId": shared_with, "email": email, "status": "accepted"}
        connection.execute(project_shares.insert().values(row))


# --- access -------------------------------------------------------------------------------------------------------


def test_the_owner_has_access_and_nobody_else(catalogue: Catalogue, owner: User) -> None:
    assert catalogue.access(owner, PROJECT) is Access.OWNER
    assert catalogue.access(STRANGER, PROJECT) is None
    assert catalogue.access(owner, OTHER) is None, "there is no such project"


@pytest.mark.parametrize("status", ShareStatus)
def test_only_an_accepted_share_gives_access(
    writer: EmbeddedCatalogue, catalogue: Catalogue, status: ShareStatus
) -> None:
    friend = writer.share(PROJECT, "friend@example.org", ShareStatus.ACCEPTED)
    assert catalogue.access(friend, PROJECT) is Access.SHARED
    writer.share(PROJECT, "FRIEND@example.org", status)
    assert (catalogue.access(friend, PROJECT) is Access.SHARED) is (status is ShareStatus.ACCEPTED)


@pytest.mark.parametrize(
    ("shared_with", "email", "user", "access"),
    [
        (None, "žofie@example.org", User("x", "ŽOFIE@Example.org"), Access.SHARED),
        (None, "other@example.org", User("x", "me@example.org"), None),
        ("somebody", "me@example.org", User("x", "me@example.org"), None),
        ("x", "other@example.org", User("x", "me@example.org"), Access.SHARED),
        (None, "", User("x", ""), None),
        (None, None, User("x", ""), None),
    ],
)
def test_a_share_holds_by_id_and_by_address_only_where_it_has_no_id(
    writer: EmbeddedCatalogue,
    catalogue: Catalogue,
    shared_with: str | None,
    email: str | None,
    user: User,
    access: Access | None,
) -> None:
    share(writer, shared_with, email)
    assert catalogue.access(user, PROJECT) is access
    assert [p.role for p in catalogue.projects(user)] == ([] if access is None else [access])


def test_who_shared_it_twice_is_listed_once(writer: EmbeddedCatalogue, catalogue: Catalogue) -> None:
    friend = writer.share(PROJECT, "friend@example.org", ShareStatus.ACCEPTED)
    share(writer, None, friend.email)
    assert [p.id for p in catalogue.projects(friend)] == [PROJECT]
    writer.share(PROJECT, friend.email, ShareStatus.REVOKED)
    assert catalogue.access(friend, PROJECT) is None, "taking back takes back all of it"


# --- users --------------------------------------------------------------------------------------------------------


def test_users_are_found_by_id_and_by_address_in_any_case(
    writer: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    alice = writer.add_user("Ålice@example.org")
    assert catalogue.users() == [owner, alice]
    assert catalogue.user(email="ÅLICE@example.org") == catalogue.user(id=alice.id) == alice
    assert catalogue.user(id=alice.id, email=owner.email) is None
    assert catalogue.user(id="nobody") is None
    with pytest.raises(TypeError):
        catalogue.user()


# --- projects and images ------------------------------------------------------------------------------------------


def test_a_project_tells_its_times_by_its_images(writer: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    later = T0 + timedelta(days=1)
    writer.insert(OTHER, "Empty", "sperm", owner.email, [])
    writer.insert("p3", "New", "wound", owner.email, [image(9, updated_at=later)])
    project = catalogue.project(PROJECT)
    assert project is not None
    assert (project.title, project.type, project.owner_id) == ("Title", "spheroid", owner.id)
    assert (project.created_at, project.updated_at) == (T0, T0)
    assert catalogue.project("none") is None
    found = catalogue.projects(owner)
    assert [(p.title, p.images, p.updated_at, p.owner_email) for p in found] == [
        ("New", 1, later, owner.email),
        ("Title", 3, T0, owner.email),
        ("Empty", 0, None, owner.email),
    ]
    assert catalogue.projects(STRANGER) == []


def test_images_stand_in_the_order_of_the_archive_and_videos_are_none(foreign: Catalogue) -> None:
    rows = foreign.images("p1", None)
    assert [row.id for row in rows] == ["first", "f0", "f1", "late"]
    assert rows[1].media_type == "application/octet-stream"
    assert [p.images for p in foreign.projects(User("u1", ""))] == [4]


def test_times_are_read_in_any_form(foreign: Catalogue) -> None:
    first, f0, _, late = foreign.images("p1", None)
    assert f0.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert late.created_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert (first.created_at, first.updated_at) == (datetime(2031, 1, 1, tzinfo=UTC), None)
    assert moment(datetime(2031, 1, 1)) == datetime(2031, 1, 1, tzinfo=UTC)  # noqa: DTZ001 - as PostgreSQL gives it
    assert [moment(v) for v in (None, "", 1e300, float("nan"), b"")] == [None] * 5


def test_a_selection_is_kept_to_the_project(foreign: Catalogue) -> None:
    assert [row.id for row in foreign.images("p1", ["late", "f1", "f1", "none"])] == ["f1", "late"]
    assert foreign.images("p2", ["late"]) == []
    assert foreign.images("p1", []) == []


def test_a_selected_video_stands_for_its_frames(foreign: Catalogue) -> None:
    assert [row.id for row in foreign.images("p1", ["v", "f1"])] == ["f0", "f1"]
    assert foreign.unknown_images("p1", ["v"]) == []
    assert foreign.totals("p1", ["v", "f1"]).images == 2


def test_unknown_images_are_told_by_their_places(foreign: Catalogue) -> None:
    assert foreign.unknown_images("p1", ["f0", "none", "late", "a\0", "none"]) == [1, 3, 4]
    assert foreign.unknown_images("p2", ["f0"]) == [0]


def test_large_selections_are_asked_for_in_batches(
    writer: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    count = 3 * BATCH + 1
    writer.insert(OTHER, "Large", "spheroid", owner.email, (image(n + 10) for n in range(count)))
    ids = [f"i{n + 10}" for n in range(count)]
    assert [row.id for row in catalogue.images(OTHER, ids[::-1])] == ids
    assert catalogue.unknown_images(OTHER, [*ids, "i0"]) == [count]


def test_segmentations_come_by_image(catalogue: Catalogue) -> None:
    assert catalogue.segmentations(["i2", "i0", "none"]) == {"i2": polygons(2), "i0": polygons(0)}
    assert catalogue.segmentations(["none"]) == catalogue.segmentations([]) == {}


@pytest.mark.parametrize("room", [1, len(polygons(1).polygons) + len(polygons(2).polygons), 1 << 20])
def test_segmentations_are_walked_in_the_order_of_their_images_however_little_fits(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(module, "PORTION", room)
    walked = list(catalogue.each_segmentation(["i2", "none", "i1", "i0"]))
    assert walked == [polygons(2), None, polygons(1), polygons(0)]
    assert list(catalogue.each_segmentation([])) == []


def test_no_more_polygons_are_read_at_a_time_than_have_room(
    writer: EmbeddedCatalogue, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.insert(OTHER, "Large", "x", "o@example.org", (NewImage(image(n).row, polygons(9)) for n in range(10, 30)))
    size = len(polygons(9).polygons)
    read: list[int] = []
    real = Catalogue.segmentations

    def watched(self: Catalogue, image_ids: Sequence[str]) -> dict[str, SegmentationRow]:
        found = real(self, image_ids)
        read.append(sum(len(row.polygons) for row in found.values()))
        return found

    monkeypatch.setattr(Catalogue, "segmentations", watched)
    monkeypatch.setattr(module, "PORTION", 3 * size)
    assert sum(row is not None for row in catalogue.each_segmentation([f"i{n}" for n in range(10, 30)])) == 20
    assert read == [3 * size] * 6 + [2 * size]


def test_who_stops_in_the_middle_of_the_images_leaves_nothing_open(catalogue: Catalogue) -> None:
    class Stopped(Exception): ...

    def stop() -> None:
        raise Stopped

    with catalogue.snapshot() as snapshot:
        with pytest.raises(Stopped):
            snapshot.images(PROJECT, None, stop)
        assert len(snapshot.images(PROJECT, None)) == 3


# --- snapshots ----------------------------------------------------------------------------------------------------


def everything(catalogue: Catalogue) -> tuple[object, ...]:
    """All that an export asks."""
    rows = catalogue.images(PROJECT, None)
    return catalogue.project(PROJECT), rows, catalogue.segmentations([f"i{n}" for n in range(20)])


def test_a_snapshot_shows_no_later_change(writer: EmbeddedCatalogue, catalogue: Catalogue) -> None:
    with catalogue.snapshot() as snapshot:
        project = snapshot.project(PROJECT)
        before = everything(catalogue)
        with writer._transaction() as connection:
            connection.execute(projects.update().values(title="Changed"))
            connection.execute(images_table.update().where(images_table.c.id == "i0").values(name="changed.png"))
            connection.execute(images_table.delete().where(images_table.c.id == "i1"))
            connection.execute(segmentations.delete())
        assert everything(snapshot) == before
        assert snapshot.project(PROJECT) == project
        assert everything(catalogue) != before
    with catalogue.snapshot() as later:
        assert everything(later) == everything(catalogue)


def test_snapshots_are_of_different_moments(writer: EmbeddedCatalogue, catalogue: Catalogue) -> None:
    with catalogue.snapshot() as first:
        assert first.project(OTHER) is None
        writer.insert(OTHER, "New", "x", "o@example.org", [image(10)])
        with catalogue.snapshot() as second:
            assert (first.project(OTHER), len(second.images(OTHER, None))) == (None, 1)


def test_a_closed_snapshot_is_closed_again_and_asked_no_more(catalogue: Catalogue) -> None:
    snapshot = catalogue.snapshot()
    assert snapshot.project(PROJECT) is not None
    snapshot.close()
    snapshot.close()
    with pytest.raises(SourceError):
        snapshot.project(PROJECT)
    assert catalogue.project(PROJECT) is not None


def test_a_snapshot_of_a_file_that_is_not_in_wal_mode_keeps_no_writer_out(tmp_path: Path) -> None:
    with open_catalogue(sqlite_file(tmp_path), tmp_path / "unused") as foreign, foreign.snapshot() as snapshot:
        assert len(snapshot.images("p1", None)) == 4
        with closing(sqlite3.connect(tmp_path / "platform.sqlite", timeout=0)) as db, db:
            db.execute("DELETE FROM images")
        assert snapshot.images("p1", None) == []


# --- estimates ----------------------------------------------------------------------------------------------------


def test_totals_count_polygons_and_bytes(catalogue: Catalogue) -> None:
    length = sum(len(polygons(n).polygons) for n in range(3))
    assert catalogue.totals(PROJECT, None) == Totals(3, 3, 300, 600, length)
    assert catalogue.totals(PROJECT, ["i2"]) == Totals(1, 2, 100, 200, len(polygons(2).polygons))
    assert catalogue.totals(OTHER, None) == Totals(0, 0, 0, 0, 0)
    assert catalogue.totals(PROJECT, []) == Totals(0, 0, 0, 0, 0)


def test_an_image_without_a_size_counts_like_the_mean_of_the_others(foreign: Catalogue) -> None:
    assert foreign.totals("p1", None).image_bytes == 200
    assert foreign.totals("p1", ["f0", "late"]).image_bytes == 60


def test_sizes_of_large_images_do_not_overflow(writer: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    slides = (image(n, width=200_000, height=100_000, size=1 << 40) for n in range(10, 13))
    writer.insert(OTHER, "Slides", "x", owner.email, slides)
    assert catalogue.totals(OTHER, None) == Totals(3, 0, 3 << 40, 3 * 20_000_000_000, 0)


def test_totals_of_many_images_are_extrapolated(
    writer: EmbeddedCatalogue, catalogue: Catalogue, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals_module, "SAMPLE", 10)
    writer.insert(OTHER, "Large", "x", owner.email, (NewImage(image(n + 10).row, polygons(4)) for n in range(95)))
    totals = catalogue.totals(OTHER, None)
    assert (totals.images, totals.annotations) == (95, 380)


def test_every_thread_may_ask(catalogue: Catalogue, owner: User) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: catalogue.access(owner, PROJECT) is Access.OWNER, range(200)))


# --- opening and failing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", [users.delete(), users.insert().values(id="x", email="x@example.org")])
def test_nothing_can_be_written(catalogue: Catalogue, owner: User, statement: sa.Executable) -> None:
    with catalogue.snapshot() as snapshot:
        for known in (catalogue, snapshot):
            with pytest.raises(SourceError):
                known._reader.rows(statement)
    assert catalogue.users() == [owner]


def test_another_sqlite_file_is_left_as_it_is(tmp_path: Path) -> None:
    with open_catalogue(sqlite_file(tmp_path), tmp_path / "unused") as foreign, foreign.snapshot() as snapshot:
        assert foreign.projects(STRANGER) == snapshot.projects(STRANGER) == []
    with closing(sqlite3.connect(tmp_path / "platform.sqlite")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_database_that_breaks_is_a_source_error_without_details(
    writer: EmbeddedCatalogue, catalogue: Catalogue
) -> None:
    with writer._transaction() as connection:
        images_table.drop(connection)
    with pytest.raises(SourceError) as caught:
        catalogue.images(PROJECT, None)
    assert "images" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///nowhere.sqlite", "mysql://host/db", "nonsense", "", "sqlite://"])
def test_an_address_that_cannot_be_used_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="EXPORTD_DATABASE_URL"):
        open_catalogue(url, tmp_path)


def test_a_database_without_the_tables_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "empty.sqlite")) as db:
        db.execute("VACUUM")
    with pytest.raises(SettingsError, match="no such table"):
        open_catalogue(f"sqlite:///{tmp_path}/empty.sqlite", tmp_path)


def test_statements_name_the_platforms_columns_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statement = str(images_table.select().compile(dialect=dialect))
    for column in images_table.columns:
        assert f'images."{column.name}"' in statement or column.name == column.name.lower()
