"""Who may see what, and in which order the images of a project stand, by the columns of the contract alone."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from exportd.core.users import Access, User
from exportd.errors import DataDirectoryUnusable, ImportFailed, NotFound, SettingsError, SourceError
from exportd.store import catalogue as module
from exportd.store.catalogue import Catalogue, ImageRow, SegmentationRow, Totals, open_catalogue
from exportd.store.embedded import EmbeddedCatalogue, NewImage, ShareStatus
from exportd.store.engines import FILE_NAME
from exportd.store.tables import images as images_table
from exportd.store.tables import moment

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
PROJECT = "00000000-0000-4000-8000-0000000000a1"
OTHER = "00000000-0000-4000-8000-0000000000a2"
STRANGER = User("stranger", "stranger@example.org")

PLATFORM = """
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT);
CREATE TABLE projects (id TEXT PRIMARY KEY, title TEXT, type TEXT, userId TEXT);
CREATE TABLE images (id TEXT PRIMARY KEY, name TEXT, originalPath TEXT, projectId TEXT, width INTEGER, height INTEGER,
    mimeType TEXT, fileSize INTEGER, displayOrder INTEGER, parentVideoId TEXT, frameIndex INTEGER,
    isVideoContainer BOOLEAN, createdAt DATETIME, updatedAt DATETIME);
CREATE TABLE segmentations (imageId TEXT, polygons TEXT, model TEXT, threshold REAL, confidence REAL,
    imageWidth INTEGER, imageHeight INTEGER);
CREATE TABLE project_shares (projectId TEXT, sharedWithId TEXT, email TEXT, status TEXT);
INSERT INTO users VALUES ('u1', 'Owner@Example.org');
INSERT INTO projects VALUES ('p1', 'Videos', 'microtubules', 'u1'), ('p2', 'None', NULL, 'gone');
INSERT INTO images VALUES
    ('v', 'film.nd2', 'film.nd2', 'p1', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 1700000000000, 1700000000000),
    ('f1', 'f1.png', 'f1.png', 'p1', 9, 8, NULL, 70, NULL, 'v', 1, 0, 1700000000000, 1700000005000),
    ('f0', 'f0.png', 'f0.png', 'p1', 9, 8, NULL, 30, NULL, 'v', 0, 0, 1700000000000, 1700000000000),
    ('late', 'late.png', 'l.png', 'p1', 9, 8, 'image/png', NULL, NULL, NULL, NULL, NULL, '2030-01-01T00:00:00Z', NULL),
    ('first', 'z.png', 'z.png', 'p1', 9, 8, 'image/png', 50, 0, NULL, NULL, 0, '2031-01-01 00:00:00', 'rubbish');
"""


def image(number: int, **changes: Any) -> NewImage:
    row = ImageRow(
        f"i{number}", f"{number}.png", f"p/{number}.png", 10, 20, "image/png", 100, number, None, None, T0, T0
    )
    return NewImage(row._replace(**changes))


def polygons(count: int) -> SegmentationRow:
    text = "[" + ",".join('{"type":"external","points":[]}' for _ in range(count)) + "]"
    return SegmentationRow(text, "m", 0.5, None, 10, 20)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedCatalogue]:
    with EmbeddedCatalogue(tmp_path) as embedded:
        yield embedded


@pytest.fixture
def owner(embedded: EmbeddedCatalogue) -> User:
    found = [NewImage(image(n).row, polygons(n)) for n in range(3)]
    return embedded.insert(PROJECT, "Title", "spheroid", "owner@example.org", found)


@pytest.fixture
def catalogue(tmp_path: Path, owner: User) -> Iterator[Catalogue]:
    with open_catalogue(None, tmp_path) as catalogue:
        yield catalogue


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Catalogue]:
    path = tmp_path / "platform.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(PLATFORM)
    with open_catalogue(f"sqlite:///{path}", tmp_path / "unused") as catalogue:
        yield catalogue


# --- access -------------------------------------------------------------------------------------------------------


def test_the_owner_has_access_and_nobody_else(catalogue: Catalogue, owner: User) -> None:
    assert catalogue.access(owner, PROJECT) is Access.OWNER
    assert catalogue.access(STRANGER, PROJECT) is None
    assert catalogue.access(owner, OTHER) is None, "there is no such project"


@pytest.mark.parametrize("status", ShareStatus)
def test_only_an_accepted_share_gives_access(
    embedded: EmbeddedCatalogue, catalogue: Catalogue, status: ShareStatus
) -> None:
    friend = embedded.share(PROJECT, "friend@example.org", ShareStatus.ACCEPTED)
    assert catalogue.access(friend, PROJECT) is Access.SHARED
    embedded.share(PROJECT, "FRIEND@example.org", status)
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
    tmp_path: Path, catalogue: Catalogue, shared_with: str | None, email: str | None, user: User, access: Access | None
) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.execute("INSERT INTO project_shares VALUES (?, ?, ?, 'accepted')", (PROJECT, shared_with, email))
    assert catalogue.access(user, PROJECT) is access
    assert [p.role for p in catalogue.projects(user)] == ([] if access is None else [access])


def test_who_shared_it_twice_is_listed_once(embedded: EmbeddedCatalogue, tmp_path: Path, catalogue: Catalogue) -> None:
    friend = embedded.share(PROJECT, "friend@example.org", ShareStatus.ACCEPTED)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.execute("INSERT INTO project_shares VALUES (?, NULL, ?, 'accepted')", (PROJECT, friend.email))
    assert [p.id for p in catalogue.projects(friend)] == [PROJECT]
    embedded.share(PROJECT, friend.email, ShareStatus.REVOKED)
    assert catalogue.access(friend, PROJECT) is None, "taking back takes back all of it"


def test_a_share_that_makes_no_sense_is_refused(embedded: EmbeddedCatalogue, owner: User) -> None:
    with pytest.raises(NotFound):
        embedded.share(OTHER, "friend@example.org", ShareStatus.ACCEPTED)
    with pytest.raises(NotFound):
        embedded.share(PROJECT, "friend@example.org", ShareStatus.REVOKED)
    with pytest.raises(SettingsError, match="owns"):
        embedded.share(PROJECT, "owner@example.org", ShareStatus.ACCEPTED)


def test_a_refused_share_makes_no_user(embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    with pytest.raises(NotFound):
        embedded.share(PROJECT, "friend@example.org", ShareStatus.REVOKED)
    assert catalogue.users() == [owner]


# --- users --------------------------------------------------------------------------------------------------------


def test_a_user_is_added_once_whatever_the_case(embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    alice = embedded.add_user(" Ålice@example.org ")
    assert embedded.add_user("åLICE@EXAMPLE.ORG") == alice
    assert alice.email == "Ålice@example.org"
    assert catalogue.users() == [owner, alice]
    assert catalogue.user(email="ÅLICE@example.org") == catalogue.user(id=alice.id) == alice
    assert catalogue.user(id=alice.id, email=owner.email) is None
    with pytest.raises(TypeError):
        catalogue.user()


@pytest.mark.parametrize("email", ["", "alice", "@", "a@", "@b", "a b@c.d", "a@b@c", "a\n@b.c", "a" * 250 + "@b.cz"])
def test_what_cannot_be_an_address_is_refused(embedded: EmbeddedCatalogue, email: str) -> None:
    with pytest.raises(SettingsError, match="e-mail"):
        embedded.add_user(email)


def test_simultaneous_additions_give_one_user(embedded: EmbeddedCatalogue) -> None:
    start = threading.Barrier(8)

    def add(_: int) -> User:
        start.wait()
        return embedded.add_user("alice@example.org")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(add, range(8)))) == 1


# --- projects and images ------------------------------------------------------------------------------------------


def test_a_project_tells_its_times_by_its_images(
    embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    later = T0 + timedelta(days=1)
    embedded.insert(OTHER, "Empty", "sperm", owner.email, [])
    embedded.insert("p3", "New", "wound", owner.email, [image(9, updated_at=later)])
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


def test_images_stand_in_the_order_of_the_archive_and_videos_are_none(platform: Catalogue) -> None:
    rows = platform.images("p1", None)
    assert [row.id for row in rows] == ["first", "f0", "f1", "late"]
    assert rows[1].media_type == "application/octet-stream"
    assert [p.images for p in platform.projects(User("u1", ""))] == [4]


def test_times_are_read_in_any_form(platform: Catalogue) -> None:
    first, f0, _, late = platform.images("p1", None)
    assert f0.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert late.created_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert (first.created_at, first.updated_at) == (datetime(2031, 1, 1, tzinfo=UTC), None)
    assert moment(datetime(2031, 1, 1)) == datetime(2031, 1, 1, tzinfo=UTC)  # noqa: DTZ001 - as PostgreSQL gives it
    assert [moment(v) for v in (None, "", 1e300, float("nan"), b"")] == [None] * 5


def test_a_selection_is_kept_to_the_project(platform: Catalogue) -> None:
    assert [row.id for row in platform.images("p1", ["late", "f1", "f1", "none"])] == ["f1", "late"]
    assert platform.images("p2", ["late"]) == []
    assert platform.images("p1", []) == []


def test_a_selected_video_stands_for_its_frames(platform: Catalogue) -> None:
    assert [row.id for row in platform.images("p1", ["v", "f1"])] == ["f0", "f1"]
    assert platform.unknown_images("p1", ["v"]) == []
    assert platform.totals("p1", ["v", "f1"]).images == 2


def test_unknown_images_are_told_by_their_places(platform: Catalogue) -> None:
    assert platform.unknown_images("p1", ["f0", "none", "late", "a\0", "none"]) == [1, 3, 4]
    assert platform.unknown_images("p2", ["f0"]) == [0]


def test_large_selections_are_asked_for_in_batches(
    embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    count = 3 * module.BATCH + 1
    embedded.insert(OTHER, "Large", "spheroid", owner.email, (image(n + 10) for n in range(count)))
    ids = [f"i{n + 10}" for n in range(count)]
    assert [row.id for row in catalogue.images(OTHER, ids[::-1])] == ids
    assert catalogue.unknown_images(OTHER, [*ids, "i0"]) == [count]


def test_segmentations_come_by_image(catalogue: Catalogue, platform: Catalogue) -> None:
    assert catalogue.segmentations(["i2", "i0", "none"]) == {"i2": polygons(2), "i0": polygons(0)}
    assert platform.segmentations(["f0"]) == {}


def test_totals_count_polygons_and_bytes(catalogue: Catalogue, platform: Catalogue) -> None:
    length = sum(len(polygons(n).polygons) for n in range(3))
    assert catalogue.totals(PROJECT, None) == Totals(3, 3, 300, 600, length)
    assert catalogue.totals(PROJECT, ["i2"]) == Totals(1, 2, 100, 200, len(polygons(2).polygons))
    assert catalogue.totals(OTHER, None) == Totals(0, 0, 0, 0, 0)
    assert platform.totals("p1", None).image_bytes == 200, "the image without a size counts like the others' mean"


def test_totals_of_many_images_are_extrapolated(
    embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE", 10)
    embedded.insert(OTHER, "Large", "x", owner.email, (NewImage(image(n + 10).row, polygons(4)) for n in range(95)))
    totals = catalogue.totals(OTHER, None)
    assert (totals.images, totals.annotations) == (95, 380)


def test_every_thread_may_ask(catalogue: Catalogue, owner: User) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: catalogue.access(owner, PROJECT) is Access.OWNER, range(200)))


# --- opening and failing ------------------------------------------------------------------------------------------


def test_the_daemon_cannot_write(catalogue: Catalogue) -> None:
    with closing(catalogue._engine.raw_connection()) as connection, pytest.raises(sqlite3.OperationalError):
        connection.cursor().execute("DELETE FROM users")


def test_reading_goes_on_while_something_is_written(
    embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    def slowly() -> Iterator[NewImage]:
        yield image(10)
        assert catalogue.project(OTHER) is None, "nothing shows before all of it is there"
        assert catalogue.access(owner, PROJECT) is Access.OWNER

    embedded.insert(OTHER, "T", "x", owner.email, slowly())
    assert catalogue.project(OTHER) is not None


def test_it_can_be_opened_while_an_import_holds_the_lock(
    tmp_path: Path, embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User
) -> None:
    def slowly() -> Iterator[NewImage]:
        with open_catalogue(None, tmp_path) as another:
            assert another.users() == [owner]
        yield image(10)

    embedded.insert(OTHER, "T", "x", owner.email, slowly())


def test_many_that_open_a_new_one_at_once_all_can(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def add(number: int) -> str:
        start.wait()
        with EmbeddedCatalogue(tmp_path / "new") as embedded:
            return embedded.add_user(f"{number}@example.org").id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(add, range(8)))) == 8


def test_another_sqlite_file_is_left_as_it_is(platform: Catalogue, tmp_path: Path) -> None:
    platform.projects(STRANGER)
    with closing(sqlite3.connect(tmp_path / "platform.sqlite")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_an_insertion_is_all_or_nothing(embedded: EmbeddedCatalogue, catalogue: Catalogue, owner: User) -> None:
    with pytest.raises(ImportFailed):
        embedded.insert(OTHER, "T", "x", "new@example.org", [image(10), image(0)])
    assert catalogue.project(OTHER) is None
    assert not embedded.has_image("i10")
    assert catalogue.users() == [owner]


def test_a_database_that_breaks_is_a_source_error_without_details(platform: Catalogue, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "platform.sqlite")) as db:
        db.execute("DROP TABLE images")
    with pytest.raises(SourceError) as caught:
        platform.images("p1", None)
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


def test_a_broken_embedded_catalogue_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database" * 100)
    with pytest.raises(DataDirectoryUnusable, match="restore it"):
        open_catalogue(None, tmp_path)


def test_statements_name_the_platforms_columns_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statement = str(images_table.select().compile(dialect=dialect))
    for column in images_table.columns:
        assert f'images."{column.name}"' in statement or column.name == column.name.lower()
