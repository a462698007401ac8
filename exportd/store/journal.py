"""The journal: jobs and their audit trail, in SQLite in WAL mode. Blocking; one thread at a time.

A job is one row with its whole record as JSON; its transitions are rows of their own that outlive it. What was committed
here is what a restart remembers, so `synchronous` is FULL: a commit that has returned is on the disk.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import orjson

from exportd.core.job import Job, Transition
from exportd.core.registry import Key
from exportd.core.states import Reason
from exportd.errors import DataDirectoryUnusable, InsufficientSpace
from exportd.store.private import ensure_private_file

FILE_NAME = "journal.db"

VERSION = 1
"""`user_version` of the schema. A journal with a higher one is refused, one with a lower one is migrated here."""

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that reads the journal (`exportd audit`)."""

_SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    before TEXT,
    "to" TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    time TEXT NOT NULL
);
CREATE INDEX transitions_of_job ON transitions (job_id, id);
CREATE TABLE keys (
    user_id TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    job_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (user_id, key)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class SaveJob:
    """A job as it is from now on, with the transition that made it so, and the key that it was started under."""

    job: Job
    transition: Transition | None = None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class AddRow:
    """A transition that could not be written when it was made; the job as it is now comes in the same commit."""

    transition: Transition


@dataclass(frozen=True, slots=True)
class ForgetJob:
    """A job whose record goes; its transitions stay."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Purge:
    """Audit rows of forgotten jobs, and idempotency keys, that are older than these moments, go."""

    audit_before: datetime
    keys_before: datetime


Change: TypeAlias = SaveJob | AddRow | ForgetJob | Purge


class Journal:
    """An open journal. `commit` is all or nothing."""

    def __init__(self, data: Path) -> None:
        """Opens or creates the journal in the data directory. Raises `DataDirectoryUnusable`."""
        try:
            ensure_private_file(data / FILE_NAME)
            # The connection wanders between worker threads, never used by two at once: the ledger sees to it.
            self._db = sqlite3.connect(
                data / FILE_NAME, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            with ExitStack() as unless_ready:
                unless_ready.callback(self._db.close)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._migrate()
                self._check()
                unless_ready.pop_all()
        except (sqlite3.Error, OSError) as error:
            raise _damaged(error) from error

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise DataDirectoryUnusable(
                f"The journal was written by a newer exportd (schema {version}, this one knows {VERSION}); upgrade exportd."
            )
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")

    def _check(self) -> None:
        """Looks through all pages: a damage that is found later costs exports, or is written on."""
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _damaged(found.splitlines()[-1])

    def close(self) -> None:
        """Closes the file; again is fine."""
        self._db.close()

    def commit(self, changes: Sequence[Change]) -> None:
        """All changes in one transaction, on the disk when this returns. Raises `InsufficientSpace`, PermissionError and
        what else SQLite raises; then nothing was changed."""
        try:
            self._transact(changes)
        except sqlite3.Error as error:
            match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the rest of the code tells the place
                case sqlite3.SQLITE_FULL:
                    raise InsufficientSpace(
                        "The disk of the export service is full; try again when there is room."
                    ) from error
                case sqlite3.SQLITE_READONLY:
                    raise PermissionError(errno.EROFS, "the journal cannot be written") from error
            raise

    def _transact(self, changes: Sequence[Change]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                self._apply(change)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _apply(self, change: Change) -> None:
        match change:
            case SaveJob(job, transition, key):
                self._db.execute(
                    "INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                    (job.id, job.created_at.isoformat(), orjson.dumps(job.as_record()).decode()),
                )
                if transition is not None:
                    self._apply(AddRow(transition))
                if key is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)",
                        (key.user_id, key.key, key.digest, job.id, key.created_at.isoformat()),
                    )
            case AddRow(transition):
                self._db.execute(
                    'INSERT INTO transitions (job_id, before, "to", reason, actor, time) VALUES (?, ?, ?, ?, ?, ?)',
                    _row(transition),
                )
            case ForgetJob(job_id):
                self._db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
                self._db.execute("DELETE FROM keys WHERE job_id = ?", (job_id,))
            case Purge(audit_before, keys_before):
                self._db.execute(
                    "DELETE FROM transitions WHERE time < ? AND job_id NOT IN (SELECT id FROM jobs)",
                    (_text(audit_before),),
                )
                self._db.execute("DELETE FROM keys WHERE created_at < ?", (keys_before.isoformat(),))

    def touch(self) -> None:
        """Writes what is there already: whether the disk takes it. Raises `DataDirectoryUnusable`."""
        try:
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            raise DataDirectoryUnusable(f"The journal cannot be written ({error}).") from error

    def jobs(self) -> list[Job]:
        """All jobs, oldest first. Raises `DataDirectoryUnusable` where a record makes no sense."""
        try:
            rows = self._db.execute("SELECT record FROM jobs ORDER BY created_at, id")
            return [Job.from_record(orjson.loads(record)) for (record,) in rows]
        except (sqlite3.Error, ValueError, TypeError, LookupError) as error:
            raise _damaged("a job in it makes no sense") from error

    def keys(self) -> list[tuple[Key, str]]:
        """All idempotency keys with the job of each. Raises `DataDirectoryUnusable` as `jobs` does."""
        try:
            rows = self._db.execute("SELECT user_id, key, digest, created_at, job_id FROM keys")
            return [(Key(user, key, digest, datetime.fromisoformat(at)), job) for user, key, digest, at, job in rows]
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise _damaged("a key in it makes no sense") from error

    def audit(self, job_id: str) -> list[Transition]:
        """The transitions of a job, oldest first."""
        return _audit(self._db, job_id)


def _damaged(why: object) -> DataDirectoryUnusable:
    return DataDirectoryUnusable(
        f"The journal in the data directory cannot be opened ({why}); restore it from a backup, or move {FILE_NAME} and "
        f"the files whose names begin so away, to begin with an empty one."
    )


def read_audit(data: Path, job_id: str) -> list[Transition]:
    """The audit trail of a job, read beside a running daemon; also of a job that was deleted.

    Raises `DataDirectoryUnusable` when there is no journal.
    """
    with _reading(data) as db:
        return _audit(db, job_id)


def read_ids(data: Path, prefix: str) -> list[str]:
    """Ids of jobs that begin so, also of deleted ones. Raises as `read_audit`. The prefix is made of hex digits and `-`."""
    with _reading(data) as db:
        rows = db.execute(
            "SELECT DISTINCT job_id FROM transitions WHERE job_id GLOB ? ORDER BY job_id", (f"{prefix}*",)
        )
        return [job_id for (job_id,) in rows]


def read_recent(data: Path, prefix: str, limit: int) -> list[Job]:
    """The newest jobs on record whose ids begin so, read beside a running daemon. Raises as `read_audit`."""
    with _reading(data) as db:
        statement = "SELECT record FROM jobs WHERE id GLOB ? ORDER BY created_at DESC LIMIT ?"
        return [Job.from_record(orjson.loads(record)) for (record,) in db.execute(statement, (f"{prefix}*", limit))]


def read_check(data: Path) -> tuple[str, datetime | None]:
    """What SQLite says of the file, `ok` when it is whole, and the time of the newest transition. Raises as `read_audit`."""
    with _reading(data) as db:
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        (newest,) = db.execute("SELECT max(time) FROM transitions").fetchone()
    return str(verdict), None if newest is None else datetime.fromisoformat(newest)


@contextmanager
def _reading(data: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"{(data / FILE_NAME).as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT)) as db:
            yield db
    except sqlite3.Error as error:
        raise DataDirectoryUnusable(
            f"There is no readable journal in this data directory ({error}); name the right one with --data."
        ) from error


def _audit(db: sqlite3.Connection, job_id: str) -> list[Transition]:
    rows: Iterable[tuple[str, str | None, str, str, str, str]] = db.execute(
        'SELECT job_id, before, "to", reason, actor, time FROM transitions WHERE job_id = ? ORDER BY id', (job_id,)
    )
    return [
        Transition(job, before, to, Reason(reason), actor, datetime.fromisoformat(time))
        for job, before, to, reason, actor, time in rows
    ]


def _row(transition: Transition) -> tuple[str, str | None, str, str, str, str]:
    t = transition
    return (t.job_id, t.before, t.to, t.reason.value, t.actor, _text(t.time))


def _text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds always, so that texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
