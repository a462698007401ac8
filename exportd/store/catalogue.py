"""The catalogue: whose projects there are, their images and polygons (SPEC §6). Read-only, blocking, thread-safe.

The same statements run on the embedded SQLite file and on the platform's PostgreSQL; only the columns that the contract
names are touched. Whatever goes wrong in the database while it is asked becomes a `SourceError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from exportd.core.dataset import Project
from exportd.core.job import wire_time
from exportd.core.users import Access, User
from exportd.errors import SettingsError, SourceError
from exportd.store.engines import FILE_NAME, create_embedded, engine_of, sqlite_engine
from exportd.store.tables import Moment, Text, images, project_shares, projects, segmentations, users

BATCH = 500
"""Ids in one statement: far below what any database takes, and enough that the number of statements does not matter."""

SAMPLE = 5000
"""Segmentations that are read for an estimate. More than that are extrapolated: reading gigabytes of polygons to tell
how many there are would take longer than a caller waits."""

T = TypeVar("T")


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


class Totals(NamedTuple):
    """What an export of these images has to read."""

    images: int
    annotations: int
    """Polygons, polylines and holes; see `Catalogue.totals`."""
    image_bytes: int
    pixels: int
    polygon_bytes: int


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

# A video container is no image: its frames are, each with a row of its own.
_IS_IMAGE = sa.or_(images.c.isVideoContainer.is_(None), images.c.isVideoContainer.is_(sa.false()))


class Catalogue:
    """Open connections to the catalogue. Every method may be called from any thread. Raises `SourceError`.

    Video containers are never images of an export; one that is selected stands for its frames.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Closes all connections; again is fine."""
        self._engine.dispose()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ping(self) -> None:
        """Returns when the database answers."""
        self._rows(sa.select(projects.c.id).limit(1))

    def access(self, user: User, project_id: str) -> Access | None:
        """How the user has access: as the owner, or by an accepted share with the user's id, or, where the share has no
        id yet, with the user's e-mail address in any case."""
        owner = self._rows(sa.select(projects.c.userId).where(projects.c.id == project_id))
        if not owner:
            return None
        if owner[0][0] == user.id:
            return Access.OWNER
        shared = sa.select(project_shares.c.projectId).where(project_shares.c.projectId == project_id, _shared(user))
        return Access.SHARED if self._rows(shared.limit(1)) else None

    def project(self, project_id: str) -> Project | None:
        """The project; its times are the first and the last of its images."""
        rows = self._rows(
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
        shared = sa.exists().where(project_shares.c.projectId == projects.c.id, _shared(user))
        rows = self._rows(
            sa.select(
                projects.c.id,
                projects.c.title,
                projects.c.type,
                projects.c.userId,
                users.c.email,
                _of_images(sa.func.count(), _IS_IMAGE),
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
        return [(project, title) for project, title in self._rows(statement)]

    def users(self) -> list[User]:
        """All users, by e-mail address."""
        return [User(*row) for row in self._rows(sa.select(users.c.id, users.c.email).order_by(users.c.email))]

    def user(self, *, id: str | None = None, email: str | None = None) -> User | None:  # noqa: A002
        """The user with this id, this e-mail address (in any case), or both."""
        wanted = []
        if id is not None:
            wanted.append(users.c.id == id)
        if email is not None:
            wanted.append(_same_text(users.c.email, email))
        if not wanted:
            raise TypeError("give an id or an e-mail address")
        rows = self._rows(sa.select(users.c.id, users.c.email).where(*wanted).order_by(users.c.id).limit(1))
        return User(*rows[0]) if rows else None

    def images(self, project_id: str, selected: Sequence[str] | None) -> list[ImageRow]:
        """The project's images in the order of the archive; those of `selected` that it has, when given.

        By display order (those without one last), creation, video and frame, name, id: a total order that no collation
        of a database decides.
        """
        rows = {row.id: row for row in map(ImageRow._make, self._of_project(project_id, selected, _IMAGE_COLUMNS))}
        return sorted(rows.values(), key=_archive_order)

    def unknown_images(self, project_id: str, ids: Sequence[str]) -> list[int]:
        """The places in `ids` of those that are not in the project."""
        known: set[str] = set()
        for batch in _batches(i for i in dict.fromkeys(ids) if "\0" not in i):  # PostgreSQL takes no NUL
            statement = sa.select(images.c.id, images.c.projectId).where(images.c.id.in_(batch))
            known.update(image for image, project in self._rows(statement) if project == project_id)
        return [place for place, image_id in enumerate(ids) if image_id not in known]

    def segmentations(self, image_ids: Sequence[str]) -> dict[str, SegmentationRow]:
        """The segmentations of these images by image id; an image that was never segmented has none."""
        columns = segmentations.c
        found = {}
        for batch in _batches(image_ids):
            statement = sa.select(
                columns.imageId,
                columns.polygons,
                columns.model,
                columns.threshold,
                columns.confidence,
                columns.imageWidth,
                columns.imageHeight,
            ).where(columns.imageId.in_(batch))
            found.update({row[0]: SegmentationRow(row[1] or "", *row[2:]) for row in self._rows(statement)})
        return found

    def totals(self, project_id: str, selected: Sequence[str] | None) -> Totals:
        """For the estimate. Polygons are counted by the key `"points"` in their text, not parsed.

        Above `SAMPLE` images polygons are extrapolated from that many, spread evenly over the ids. An image without a
        size counts like the mean of the others.
        """
        columns = (images.c.id, images.c.fileSize, images.c.width, images.c.height)
        rows = {row[0]: row[1:] for row in self._of_project(project_id, selected, columns)}
        image_bytes = _like_the_mean([size for size, _, _ in rows.values()])
        pixels = _like_the_mean([width * height if width and height else None for _, width, height in rows.values()])
        ids = sorted(rows)
        sample = ids if len(ids) <= SAMPLE else [ids[i * len(ids) // SAMPLE] for i in range(SAMPLE)]
        annotations = polygon_bytes = 0
        text = segmentations.c.polygons
        key = '"points"'
        length = sa.func.length(text)
        in_keys = sa.func.sum(length - sa.func.length(sa.func.replace(text, key, "")))
        for batch in _batches(sample):
            statement = sa.select(in_keys, sa.func.sum(length)).where(segmentations.c.imageId.in_(batch))
            for of_keys, characters in self._rows(statement):
                annotations += int(of_keys or 0) // len(key)
                polygon_bytes += int(characters or 0)
        scale = len(ids) / len(sample) if sample else 1.0
        return Totals(len(ids), round(annotations * scale), image_bytes, pixels, round(polygon_bytes * scale))

    def _of_project(
        self, project_id: str, selected: Sequence[str] | None, columns: Sequence[sa.ColumnElement[Any]]
    ) -> Iterator[tuple[Any, ...]]:
        """Columns of the project's images. An image may come twice: selected itself, and as a frame."""
        statement = sa.select(images.c.projectId, *columns).where(_IS_IMAGE)
        if selected is None:
            conditions: Iterable[sa.ColumnElement[bool]] = [images.c.projectId == project_id]
        else:
            conditions = (
                column.in_(batch)
                for batch in _batches(dict.fromkeys(selected))
                for column in (images.c.id, images.c.parentVideoId)
            )
        for condition in conditions:
            # The project is compared here: SQLite would rather walk all of it for every batch than use the ids.
            for project, *row in self._rows(statement.where(condition)):
                if project == project_id:
                    yield tuple(row)

    def _rows(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        try:
            with self._engine.connect() as connection:
                return [tuple(row) for row in connection.execute(statement)]
        except SQLAlchemyError as error:
            raise SourceError("The database of the projects does not answer as it should; try again later.") from error


def _like_the_mean(values: Sequence[int | None]) -> int:
    """The sum, with the mean of those that are known for each that is not; 0 when none is."""
    known = [value for value in values if value is not None]
    return sum(known) * len(values) // len(known) if known else 0


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


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    items = list(values)
    for begin in range(0, len(items), BATCH):
        yield items[begin : begin + BATCH]


def open_catalogue(url: str | None, data: Path) -> Catalogue:
    """The catalogue at a `postgresql://` or `sqlite:///` address, or the embedded one, which is made when it is absent.

    Raises `SettingsError` for an address that cannot be used, `DataDirectoryUnusable` for the embedded file.
    """
    if url is None:
        create_embedded(data)
        return Catalogue(sqlite_engine(data / FILE_NAME, read_only=True))
    engine = engine_of(url)
    try:
        with engine.connect() as connection:
            connection.execute(sa.select(projects.c.id).limit(1))
    except SQLAlchemyError as error:
        engine.dispose()
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise SettingsError(
            f"The database of the projects cannot be used: {reason}. Check EXPORTD_DATABASE_URL."
        ) from None
    return Catalogue(engine)
