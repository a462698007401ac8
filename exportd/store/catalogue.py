"""The catalogue: whose projects there are, their images and polygons (SPEC §6). Read-only, blocking, thread-safe.

The same statements run on the embedded SQLite file and on the platform's PostgreSQL; only the columns that the contract
names are touched. Whatever goes wrong in the database while it is asked becomes a `SourceError`; `SourceUnavailable`
when it may be over soon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from exportd.core.dataset import Project
from exportd.core.job import wire_time
from exportd.core.users import Access, User
from exportd.errors import SettingsError
from exportd.store.changes import Changes
from exportd.store.engines import FILE_NAME, Engines, create_embedded, engines_of, sqlite_engines
from exportd.store.queries import IS_IMAGE, batches, images_of
from exportd.store.reading import Lookups, Reader, Snapshot
from exportd.store.tables import Moment, Text, images, octet_length, project_shares, projects, segmentations, users
from exportd.store.totals import Totals, totals

PORTION = 8 << 20
"""Bytes of polygons that are in memory at a time, as text; an image with more is one portion."""


# --- rows ---------------------------------------------------------------------------------------------------------


class ProjectSummary(NamedTuple):
    """A project in the list of somebody who may export it."""

    id: str
    title: str
    type: str
    role: Access
    owner_email: str | None
    images: int
    updated_at: datetime | None
    """The newest change of any of its images."""

    def as_wire(self) -> dict[str, object]:
        return {
            "id": self.id,
            "title": self.title,
            "type": self.type,
            "role": str(self.role),
            "ownerEmail": self.owner_email,
            "imageCount": self.images,
            "updatedAt": wire_time(self.updated_at),
        }


class ImageRow(NamedTuple):
    """An image as its row tells it, which need not be true of the file. Sizes are pixels, `size` is bytes."""

    id: str
    name: str
    original_path: str
    width: int | None
    height: int | None
    media_type: str
    size: int | None
    display_order: int | None
    parent_video_id: str | None
    frame_index: int | None
    created_at: datetime | None
    updated_at: datetime | None


class SegmentationRow(NamedTuple):
    """The segmentation of one image. `polygons` is JSON text, unchecked; sizes are pixels."""

    polygons: str
    model: str | None
    threshold: float | None
    confidence: float | None
    image_width: int | None
    image_height: int | None


# --- queries ------------------------------------------------------------------------------------------------------

_OLDEST = datetime.min.replace(tzinfo=UTC)

_IMAGE_COLUMNS = (
    images.c.id,
    images.c.name,
    images.c.originalPath,
    images.c.width,
    images.c.height,
    sa.func.coalesce(images.c.mimeType, "application/octet-stream", type_=Text),
    images.c.fileSize,
    images.c.displayOrder,
    images.c.parentVideoId,
    images.c.frameIndex,
    images.c.createdAt,
    images.c.updatedAt,
)

_ROUGHLY = (
    sa.nulls_last(images.c.displayOrder),
    sa.nulls_last(images.c.createdAt),
    sa.func.coalesce(images.c.parentVideoId, "", type_=Text),
    sa.nulls_last(images.c.frameIndex),
    images.c.name,
    images.c.id,
)
"""The order of the archive but for what a collation, or a time in an odd form, puts elsewhere. Python puts that right;
to sort 100,000 images from scratch would stop every other thread for 0.4 s."""


def _nothing() -> None: ...


class Catalogue:
    """Open connections to the catalogue. Every method may be called from any thread. Raises `SourceError`.

    Video containers are never images of an export; one that is selected stands for its frames.
    """

    def __init__(self, engines: Engines, reader: Reader | None = None, changes: Changes | None = None) -> None:
        self._engines = engines
        self._reader: Reader = reader or Lookups(engines.lookups)
        self._changes = changes

    def snapshot(self) -> Catalogue:
        """The catalogue of this moment: what is changed from now on does not show in it.

        It has a connection of its own, so it may be asked from one thread at a time; close it soon, as a database keeps
        for it what others delete. Closing it waits for nothing.
        """
        return Catalogue(self._engines, Snapshot(self._engines.snapshots))

    def close(self) -> None:
        """Closes all connections; again is fine."""
        self._reader.close()
        if self._changes is not None:
            self._changes.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ping(self) -> None:
        """Returns when the database answers."""
        self._reader.rows(sa.select(projects.c.id).limit(1))

    def changes(self) -> int | None:
        """A number that is a new one after every change of the catalogue, told without waiting; None where that cannot be:
        not in another program's database. From one thread at a time, unlike the other methods."""
        return None if self._changes is None else self._changes.count()

    def access(self, user: User, project_id: str) -> Access | None:
        """How the user has access: as the owner, or by an accepted share with the user's id, or, where the share has no
        id yet, with the user's e-mail address in any case."""
        # One statement, and the same work whether or not there is such a project: the time that it takes tells nobody.
        owner = sa.select(projects.c.userId).where(projects.c.id == project_id).scalar_subquery()
        share = sa.select(project_shares.c.projectId).where(project_shares.c.projectId == project_id, _shared(user))
        ((owner_id, is_shared),) = self._reader.rows(sa.select(owner, sa.exists(share)))
        if owner_id is None:
            return None
        if owner_id == user.id:
            return Access.OWNER
        return Access.SHARED if is_shared else None

    def project(self, project_id: str) -> Project | None:
        """The project; its times are the first and the last of its images."""
        rows = self._reader.rows(
            sa.select(
                projects.c.id,
                projects.c.title,
                projects.c.type,
                projects.c.userId,
                _of_images(sa.func.min(images.c.createdAt)),
                _of_images(_newest()),
            ).where(projects.c.id == project_id)
        )
        for project, title, kind, owner, created, updated in rows:
            return Project(project, title, kind or "", owner, created, updated)
        return None

    def projects(self, user: User) -> list[ProjectSummary]:
        """What the user may export, the newest change first."""
        # Not `exists(*)`: that would need the right to read every column.
        share = sa.select(project_shares.c.projectId).where(project_shares.c.projectId == projects.c.id, _shared(user))
        shared = sa.exists(share)
        rows = self._reader.rows(
            sa.select(
                projects.c.id,
                projects.c.title,
                projects.c.type,
                projects.c.userId,
                users.c.email,
                _of_images(sa.func.count(), IS_IMAGE),
                _of_images(_newest()),
            )
            .select_from(projects.outerjoin(users, users.c.id == projects.c.userId))
            .where(sa.or_(projects.c.userId == user.id, shared))
        )
        found = [
            ProjectSummary(
                project, title, kind or "", Access.OWNER if owner == user.id else Access.SHARED, email, count, updated
            )
            for project, title, kind, owner, email, count, updated in rows
        ]
        found.sort(key=lambda p: p.id)
        found.sort(key=lambda p: p.updated_at or _OLDEST, reverse=True)
        return found

    def titles(self) -> list[tuple[str, str]]:
        """Id and title of every project, whoever's it is, by title: for the operator."""
        statement = sa.select(projects.c.id, projects.c.title).order_by(projects.c.title, projects.c.id)
        return [(project, title) for project, title in self._reader.rows(statement)]

    def users(self) -> list[User]:
        """All users, by e-mail address."""
        return [User(*row) for row in self._reader.rows(sa.select(users.c.id, users.c.email).order_by(users.c.email))]

    def user(self, *, id: str | None = None, email: str | None = None) -> User | None:  # noqa: A002
        """The user with this id, this e-mail address (in any case), or both."""
        wanted = []
        if id is not None:
            wanted.append(users.c.id == id)
        if email is not None:
            wanted.append(_same_text(users.c.email, email))
        if not wanted:
            raise TypeError("give an id or an e-mail address")
        rows = self._reader.rows(sa.select(users.c.id, users.c.email).where(*wanted).order_by(users.c.id).limit(1))
        return User(*rows[0]) if rows else None

    def images(
        self, project_id: str, selected: Sequence[str] | None, check: Callable[[], None] = _nothing
    ) -> list[ImageRow]:
        """The project's images in the order of the archive; those of `selected` that it has, when given. `check` is
        called again and again, and may raise.

        By display order (those without one last), creation, video and frame, name, id: a total order that no collation
        of a database decides.
        """
        rows: dict[str, ImageRow] = {}
        with closing(images_of(self._reader, project_id, selected, _IMAGE_COLUMNS, _ROUGHLY)) as found:
            for columns in found:
                check()
                row = ImageRow._make(columns)
                rows[row.id] = row

        def place(row: ImageRow) -> tuple[object, ...]:
            check()
            return _archive_order(row)

        return sorted(rows.values(), key=place)

    def unknown_images(self, project_id: str, ids: Sequence[str]) -> list[int]:
        """The places in `ids` of those that are not in the project."""
        known: set[str] = set()
        for batch in batches(i for i in dict.fromkeys(ids) if "\0" not in i):  # PostgreSQL takes no NUL
            statement = sa.select(images.c.id, images.c.projectId).where(images.c.id.in_(batch))
            known.update(image for image, project in self._reader.rows(statement) if project == project_id)
        return [place for place, image_id in enumerate(ids) if image_id not in known]

    def segmentations(self, image_ids: Sequence[str]) -> dict[str, SegmentationRow]:
        """The segmentations of these images by image id; an image that was never segmented has none."""
        columns = segmentations.c
        found = {}
        for batch in batches(image_ids):
            statement = sa.select(
                columns.imageId,
                columns.polygons,
                columns.model,
                columns.threshold,
                columns.confidence,
                columns.imageWidth,
                columns.imageHeight,
            ).where(columns.imageId.in_(batch))
            found.update({row[0]: SegmentationRow(row[1] or "", *row[2:]) for row in self._reader.rows(statement)})
        return found

    def each_segmentation(self, image_ids: Sequence[str]) -> Iterator[SegmentationRow | None]:
        """The segmentation of each image, in the order of the ids; None for one that was never segmented.

        Read in portions: memory depends neither on their number nor, but for the largest, on their sizes. May be left
        anywhere.
        """
        for portion in self._portions(image_ids):
            found = self.segmentations(portion)
            for image_id in portion:
                yield found.pop(image_id, None)

    def _portions(self, image_ids: Sequence[str]) -> Iterator[list[str]]:
        size = octet_length(segmentations.c.polygons)
        for batch in batches(image_ids):
            statement = sa.select(segmentations.c.imageId, size).where(segmentations.c.imageId.in_(batch))
            sizes: dict[str, int | None] = dict(self._reader.rows(statement))
            portion: list[str] = []
            room = PORTION
            for image_id in batch:
                needed = sizes.get(image_id) or 0
                if portion and needed > room:
                    yield portion
                    portion, room = [], PORTION
                portion.append(image_id)
                room -= needed
            yield portion

    def totals(self, project_id: str, selected: Sequence[str] | None) -> Totals:
        """For the estimate; see `totals`."""
        return totals(self._reader, project_id, selected)


def _of_images(value: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    return sa.select(value).where(images.c.projectId == projects.c.id, *where).correlate(projects).scalar_subquery()


def _newest() -> sa.ColumnElement[Any]:
    return sa.func.max(sa.func.coalesce(images.c.updatedAt, images.c.createdAt, type_=Moment), type_=Moment)


def _shared(user: User) -> sa.ColumnElement[bool]:
    columns = project_shares.c
    to_user = columns.sharedWithId == user.id
    if user.email:  # an empty address must not match an empty address
        to_user = sa.or_(to_user, sa.and_(columns.sharedWithId.is_(None), _same_text(columns.email, user.email)))
    return sa.and_(columns.status == "accepted", to_user)


def _same_text(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    return sa.func.lower(column, type_=Text) == sa.literal(text.lower(), Text)


def _archive_order(row: ImageRow) -> tuple[object, ...]:
    return (
        row.display_order is None,
        row.display_order or 0,
        row.created_at is None,
        row.created_at or _OLDEST,
        row.parent_video_id or "",
        row.frame_index is None,
        row.frame_index or 0,
        row.name,
        row.id,
    )


def open_catalogue(url: str | None, data: Path, listen: Callable[[], None] = _nothing) -> Catalogue:
    """The catalogue at a `postgresql://` or `sqlite:///` address, or the embedded one, which is made when it is absent.

    `listen` is called every tenth of a second in a thread that waits for a server; what it raises ends the waiting.
    Raises `SettingsError` for an address that cannot be used, `DataDirectoryUnusable` for the embedded file.
    """
    if url is None:
        create_embedded(data)
        return Catalogue(sqlite_engines(data / FILE_NAME), changes=Changes(data / FILE_NAME))
    engines = engines_of(url, listen)
    try:
        with engines.lookups.connect() as connection:
            connection.execute(sa.select(projects.c.id).limit(1))
    except SQLAlchemyError as error:
        engines.lookups.dispose()
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise SettingsError(
            f"The database of the projects cannot be used: {reason}. Check EXPORTD_DATABASE_URL."
        ) from None
    return Catalogue(engines)
