"""Connections to the databases that may hold a catalogue: the embedded SQLite file, another one, PostgreSQL."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from exportd.errors import DataDirectoryUnusable, SettingsError
from exportd.store.private import ensure_private_file, ensure_private_folder
from exportd.store.tables import metadata

FILE_NAME = "catalogue.db"

BUSY_TIMEOUT = 10.0
"""Seconds to wait for a program that writes to the SQLite file, for example `exportd import`."""

CONNECTIONS = 64
"""Most at a time: more than trio has worker threads by default, so that no query waits for another."""


class Engines(NamedTuple):
    """Connections to one database, for reading only."""

    lookups: sa.Engine
    """A pool; each statement for itself."""
    snapshots: sa.Engine
    """A connection for each who asks, with a transaction that sees one moment."""


def create_embedded(data: Path) -> None:
    """Makes the embedded catalogue with its tables, where it is absent. Raises `DataDirectoryUnusable`."""
    path = data / FILE_NAME
    try:
        ensure_private_folder(data)
        with _alone(data):
            # Looked at first: making tables takes the write lock, which an import may hold for longer than one waits.
            if not path.exists() or not _has_tables(path):
                _create(path)
    except (SQLAlchemyError, OSError) as error:
        raise DataDirectoryUnusable(
            f"The catalogue in the data directory {data} cannot be opened ({getattr(error, 'orig', None) or error}); "
            "restore it from a backup, or name another directory with --data."
        ) from error


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """One process at a time: SQLite's switch to WAL does not wait for another that makes it, it fails."""
    fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _has_tables(path: Path) -> bool:
    engine = sqlite_engine(path, read_only=True)
    try:
        return set(metadata.tables) <= set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def _create(path: Path) -> None:
    ensure_private_file(path)
    engine = sqlite_engine(path)
    try:
        with engine.begin() as connection:
            metadata.create_all(connection)
    finally:
        engine.dispose()


def sqlite_engine(path: Path, *, read_only: bool = False) -> sa.Engine:
    """Connections to a SQLite file. Those that write set WAL mode, so that readers go on meanwhile, and take the write
    lock when a transaction begins, so that none fails half-way; those that read change nothing."""
    # Two are kept: to open another takes a fraction of a millisecond, and each holds two descriptors.
    engine = sa.create_engine(_sqlite(path), connect_args=_arguments(), pool_size=2, max_overflow=CONNECTIONS - 2)
    _prepare(engine, "PRAGMA query_only = ON" if read_only else "PRAGMA journal_mode = WAL")
    if not read_only:

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def sqlite_engines(path: Path) -> Engines:
    """Connections that read a SQLite file.

    Only one in WAL mode, as the embedded one is, has snapshots. In another a transaction would keep its writer out as
    long as an export reads: there each statement sees its own moment.
    """
    snapshots = sa.create_engine(_sqlite(path), connect_args=_arguments(), poolclass=NullPool)
    _prepare(snapshots, "PRAGMA query_only = ON")

    @sa.event.listens_for(snapshots, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal":
            connection.exec_driver_sql("BEGIN")

    return Engines(sqlite_engine(path, read_only=True), snapshots)


def _arguments() -> dict[str, object]:
    return {"timeout": BUSY_TIMEOUT, "check_same_thread": False, "isolation_level": None}


def _sqlite(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


def _prepare(engine: sa.Engine, pragma: str) -> None:
    @sa.event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(pragma)
        # SQLite's own knows ASCII only.
        connection.create_function("lower", 1, lambda t: t.lower() if isinstance(t, str) else t, deterministic=True)


def engines_of(text: str, listen: Callable[[], None]) -> Engines:
    """Connections to a `postgresql://` or `sqlite:///` address. Raises `SettingsError`.

    `listen` is called again and again while PostgreSQL is waited for; what it raises ends the waiting.
    """
    try:
        url = make_url(text)
        match url.get_backend_name():
            case "sqlite":
                path = Path(url.database or "")
                if not path.is_file():
                    raise SettingsError("EXPORTD_DATABASE_URL names a SQLite file that does not exist.")
                return sqlite_engines(path)
            case "postgresql" | "postgres":
                from exportd.store import postgresql  # its driver is an extra

                return Engines(postgresql.lookups(url, listen), postgresql.snapshots(url, listen))
    except (ArgumentError, NoSuchModuleError, ValueError):
        pass
    except ModuleNotFoundError:
        raise SettingsError("PostgreSQL needs the extra of that name: pip install 'exportd[postgresql]'.") from None
    raise SettingsError("EXPORTD_DATABASE_URL must begin with postgresql:// or sqlite:///.")
