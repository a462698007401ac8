"""Pieces of statements that the catalogue's questions have in common."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

import sqlalchemy as sa

from exportd.store.reading import Reader, Row
from exportd.store.tables import images

BATCH = 50
"""Ids in one statement. psycopg would take a statement with more parameters apart anew each time, which costs more, and
all of it under the interpreter's lock, than to ask more often."""

T = TypeVar("T")

# A video container is no image: its frames are, each with a row of its own.
IS_IMAGE = sa.or_(images.c.isVideoContainer.is_(None), images.c.isVideoContainer.is_(sa.false()))


def batches(values: Iterable[T]) -> Iterator[list[T]]:
    items = list(values)
    for begin in range(0, len(items), BATCH):
        yield items[begin : begin + BATCH]


def images_of(
    reader: Reader,
    project_id: str,
    selected: Sequence[str] | None,
    columns: Sequence[sa.ColumnElement[Any]],
    order: Sequence[sa.ColumnElement[Any]] = (),
) -> Generator[Row, None, None]:
    """Columns of the project's images. An image may come twice: selected itself, and as a frame; of a selection only
    some at a time are in order."""
    statement = sa.select(images.c.projectId, *columns).where(IS_IMAGE).order_by(*order)
    if selected is None:
        conditions: Iterable[sa.ColumnElement[bool]] = [images.c.projectId == project_id]
    else:
        conditions = (
            column.in_(batch)
            for batch in batches(dict.fromkeys(selected))
            for column in (images.c.id, images.c.parentVideoId)
        )
    for condition in conditions:
        # The project is compared here: SQLite would rather walk all of it for every batch than use the ids.
        with closing(reader.stream(statement.where(condition))) as rows:
            for project, *row in rows:
                if project == project_id:
                    yield tuple(row)
