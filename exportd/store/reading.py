"""How the catalogue's statements are asked: each for itself, or all of them as of one moment. Blocking."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from exportd.errors import SourceError, SourceUnavailable

log = structlog.get_logger("exportd.catalogue")

PAGE = 500
"""Rows of a stream that are in memory at a time."""

Row: TypeAlias = tuple[Any, ...]


class Reader(Protocol):
    """Asks statements. Raises `SourceUnavailable` when the database is away, `SourceError` when it refuses."""

    def rows(self, statement: sa.Executable) -> list[Row]: ...

    def stream(self, statement: sa.Executable) -> Generator[Row, None, None]:
        """The rows; to be closed by who does not read it to its end."""
        ...

    def close(self) -> None:
        """Lets go of all connections; again is fine."""
        ...


class Lookups:
    """Each statement on its own, on any connection of a pool. May be asked from several threads at once."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def rows(self, statement: sa.Executable) -> list[Row]:
        """A connection that turns out to be dead is no answer: the server was restarted, so it is asked once more."""
        with _translated():
            try:
                return self._ask(statement)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            return self._ask(statement)

    def stream(self, statement: sa.Executable) -> Generator[Row, None, None]:
        yield from self.rows(statement)

    def close(self) -> None:
        self._engine.dispose()

    def _ask(self, statement: sa.Executable) -> list[Row]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(statement)]


class Snapshot:
    """All statements in one transaction that sees what was there at the first of them, and no later change.

    May be asked from any thread, one at a time. Once the database was away there is no way back to that moment: every
    further statement fails too.
    """

    def __init__(self, engine: sa.Engine) -> None:
        with _translated():
            self._connection = engine.connect()

    def rows(self, statement: sa.Executable) -> list[Row]:
        with _translated():
            return [tuple(row) for row in self._connection.execute(statement)]

    def stream(self, statement: sa.Executable) -> Generator[Row, None, None]:
        with (
            _translated(),
            self._connection.execute(statement, execution_options={"yield_per": PAGE}) as result,
        ):
            for row in result:
                yield tuple(row)

    def close(self) -> None:
        """Hangs up: the database ends the transaction. Nothing is waited for, so this may be called anywhere."""
        if not self._connection.closed:
            self._connection.invalidate()
            self._connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    """The log has the database's own words; callers get sentences that name neither tables nor hosts."""
    try:
        yield
    except (OperationalError, InterfaceError, NoConnectionFree) as error:
        log.warning("catalogue_unavailable", error=_words(error))
        raise SourceUnavailable from error
    except SQLAlchemyError as error:
        log.error("catalogue_refuses", error=_words(error))
        raise SourceError(
            "The database of the projects refuses what it is asked; the log tells its operator why."
        ) from error


def _words(error: SQLAlchemyError) -> str:
    """Without statement and parameters."""
    return str(getattr(error, "orig", None) or error).strip()
