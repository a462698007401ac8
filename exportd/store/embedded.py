"""The embedded catalogue as `exportd` itself writes it: users, shares, imported projects. Blocking.

A daemon may read the same file meanwhile; every method is one transaction.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from exportd.core.users import User
from exportd.errors import ImportFailed, NotFound, SettingsError, SourceError
from exportd.store.catalogue import ImageRow, SegmentationRow
from exportd.store.engines import FILE_NAME, create_embedded, sqlite_engine
from exportd.store.tables import images, project_shares, projects, segmentations, users

BATCH = 200
"""Images that are inserted at a time; bounds memory, as their polygons come with them."""

MAX_EMAIL = 254
"""Characters of an e-mail address (RFC 5321, by way of erratum 1690)."""

_PART = r"[^@\s\x00-\x1f\x7f\ud800-\udfff]+"
"""Of an address: no blanks, no control characters, no half surrogate pairs, which no database stores."""


class ShareStatus(StrEnum):
    """Only an accepted share gives access."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to insert, with its segmentation if it has one."""

    row: ImageRow
    segmentation: SegmentationRow | None = None


class EmbeddedCatalogue:
    """The catalogue in a data directory, made when absent. Close it, or use it as a context manager.

    Every method raises `SourceError` when the file is locked for too long, full or broken.
    """

    def __init__(self, data: Path) -> None:
        """Raises `DataDirectoryUnusable`."""
        create_embedded(data)
        self._engine = sqlite_engine(data / FILE_NAME)

    def close(self) -> None:
        """Closes all connections; again is fine."""
        self._engine.dispose()

    def __enter__(self) -> EmbeddedCatalogue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add_user(self, email: str) -> User:
        """The user with this e-mail address, in any case; a new one when there is none. Raises `SettingsError`."""
        address = checked_email(email)
        with self._transaction() as connection:
            return _add_user(connection, address)

    def share(self, project_id: str, email: str, status: ShareStatus) -> User:
        """Gives or takes back access; who is unknown becomes a user.

        Raises `NotFound` for an unknown project, and for taking back what was never shared; `SettingsError` for a bad
        address and for the project's owner.
        """
        address = checked_email(email)
        with self._transaction() as connection:
            owner = connection.execute(sa.select(projects.c.userId).where(projects.c.id == project_id)).scalar()
            if owner is None:
                raise NotFound("project")
            user = _add_user(connection, address)
            if user.id == owner:
                raise SettingsError(f"{address} owns the project and has access anyway.")
            share = project_shares.c
            changed = connection.execute(
                project_shares.update()
                .where(
                    share.projectId == project_id,
                    sa.or_(
                        share.sharedWithId == user.id,
                        sa.and_(share.sharedWithId.is_(None), sa.func.lower(share.email) == address.lower()),
                    ),
                )
                .values(sharedWithId=user.id, status=str(status))
            )
            if changed.rowcount == 0:
                if status is ShareStatus.REVOKED:
                    raise NotFound("share")
                connection.execute(
                    project_shares.insert().values(
                        projectId=project_id, sharedWithId=user.id, email=user.email, status=str(status)
                    )
                )
            return user

    def has_project(self, project_id: str) -> bool:
        """Whether this id is taken."""
        return self._has(projects.c.id, project_id)

    def has_image(self, image_id: str) -> bool:
        """Whether this id is taken, by any project."""
        return self._has(images.c.id, image_id)

    def _has(self, column: sa.Column[str], value: str) -> bool:
        with self._transaction() as connection:
            return connection.execute(sa.select(column).where(column == value)).first() is not None

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise  # the caller knows whose id was taken
        except DBAPIError as error:
            raise SourceError(
                f"The catalogue cannot be used now ({error.orig}); try again when no other import is running."
            ) from error

    def insert(self, project_id: str, title: str, kind: str, owner: str, new: Iterable[NewImage]) -> User:
        """A project with all its images, or nothing; its owner, given by e-mail address, becomes a user if need be.

        Raises `SettingsError` for a bad address, `ImportFailed` when an id was taken meanwhile.
        """
        address = checked_email(owner)
        try:
            with self._transaction() as connection:
                user = _add_user(connection, address)
                connection.execute(projects.insert().values(id=project_id, title=title, type=kind, userId=user.id))
                _insert_images(connection, project_id, new)
                return user
        except IntegrityError as error:
            raise ImportFailed(
                "The same project was imported at the same time; import it again for a second one."
            ) from error


def checked_email(email: str) -> str:
    """The address without blanks around it. Raises `SettingsError` for what cannot be one; the check is a light one."""
    address = email.strip()
    if not re.fullmatch(f"{_PART}@{_PART}", address) or len(address) > MAX_EMAIL:
        raise SettingsError(f"{address[:80]!r} is no e-mail address; write it like alice@example.org.")
    return address


def _add_user(connection: sa.Connection, address: str) -> User:
    same = sa.select(users.c.id, users.c.email).where(sa.func.lower(users.c.email) == address.lower())
    if (found := connection.execute(same).first()) is not None:
        return User(found[0], found[1])
    user = User(str(uuid.uuid4()), address)
    connection.execute(users.insert().values(id=user.id, email=user.email))
    return user


def _insert_images(connection: sa.Connection, project_id: str, new: Iterable[NewImage]) -> None:
    for batch in _batches(new):
        connection.execute(images.insert(), [_image(project_id, image.row) for image in batch])
        segmented = [_segmentation(i.row.id, i.segmentation) for i in batch if i.segmentation is not None]
        if segmented:
            connection.execute(segmentations.insert(), segmented)


def _batches(new: Iterable[NewImage]) -> Iterator[list[NewImage]]:
    rest = iter(new)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _image(project_id: str, row: ImageRow) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "originalPath": row.original_path,
        "projectId": project_id,
        "width": row.width,
        "height": row.height,
        "mimeType": row.media_type,
        "fileSize": row.size,
        "displayOrder": row.display_order,
        "parentVideoId": row.parent_video_id,
        "frameIndex": row.frame_index,
        "isVideoContainer": False,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
    }


def _segmentation(image_id: str, row: SegmentationRow) -> dict[str, object]:
    return {
        "imageId": image_id,
        "polygons": row.polygons,
        "model": row.model,
        "threshold": row.threshold,
        "confidence": row.confidence,
        "imageWidth": row.image_width,
        "imageHeight": row.image_height,
    }
