"""The catalogue's tables with the columns that SPEC §6 names, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import UserDefinedType


class Text(UserDefinedType[str]):
    """Text, or what PostgreSQL may have in its place (uuid, an enum): parameters go without a cast, so that both fit."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:  # noqa: ARG002
        return lambda value: None if value is None else str(value)


class Moment(UserDefinedType[datetime]):
    """A time: ISO 8601 text, a timestamp, or milliseconds since 1970 as Prisma writes them into SQLite.

    Aware, in UTC; a time without zone is UTC; what is no time is None.
    """

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002
        return lambda value: None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds")

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        return moment


def moment(value: object) -> datetime | None:
    """A time in any of the forms that `Moment` knows."""
    try:
        match value:
            case datetime():
                time = value
            case str():
                time = datetime.fromisoformat(value.strip())
            case int() | float():
                time = datetime.fromtimestamp(value / 1000, UTC)
            case _:
                return None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


class octet_length(GenericFunction[int]):  # noqa: N801 - its name is SQL's
    """Bytes of a text; PostgreSQL knows them without reading it."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(octet_length, "sqlite")
def _octets(element: octet_length, compiler: SQLCompiler, **options: Any) -> str:
    """SQLite has the function from 3.43 on."""
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


metadata = sa.MetaData()

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("email", Text, nullable=False),
)
projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("title", Text, nullable=False),
    sa.Column("type", Text),
    sa.Column("userId", Text, nullable=False, index=True),
)
images = sa.Table(
    "images",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("originalPath", Text, nullable=False),
    sa.Column("projectId", Text, nullable=False, index=True),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("mimeType", Text),
    sa.Column("fileSize", sa.BigInteger),
    sa.Column("displayOrder", sa.Integer),
    sa.Column("parentVideoId", Text, index=True),
    sa.Column("frameIndex", sa.Integer),
    sa.Column("isVideoContainer", sa.Boolean),
    sa.Column("createdAt", Moment),
    sa.Column("updatedAt", Moment),
)
segmentations = sa.Table(
    "segmentations",
    metadata,
    sa.Column("imageId", Text, primary_key=True),
    sa.Column("polygons", Text, nullable=False),
    sa.Column("model", Text),
    sa.Column("threshold", sa.Float),
    sa.Column("confidence", sa.Float),
    sa.Column("imageWidth", sa.Integer),
    sa.Column("imageHeight", sa.Integer),
)
project_shares = sa.Table(
    "project_shares",
    metadata,
    sa.Column("projectId", Text, nullable=False, index=True),
    sa.Column("sharedWithId", Text, index=True),
    sa.Column("email", Text),
    sa.Column("status", Text, nullable=False),
)


def role_statements() -> list[str]:
    """What makes a PostgreSQL role that may do no more than exportd does: read these columns, no others of the tables."""
    quoted = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]
    return [
        "CREATE ROLE exportd LOGIN PASSWORD 'a long random one' CONNECTION LIMIT 20;",
        "ALTER ROLE exportd SET default_transaction_read_only = on;",
        "GRANT USAGE ON SCHEMA public TO exportd;",
        *(
            f"GRANT SELECT ({', '.join(quoted(column.name) for column in table.columns)}) ON {quoted(table.name)} TO exportd;"
            for table in metadata.tables.values()
        ),
    ]
