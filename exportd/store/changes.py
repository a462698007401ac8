"""Whether the embedded catalogue was changed, asked without waiting for anybody: what an event loop may do itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path


class Changes:
    """Counts the commits of all other connections, in whichever process (`PRAGMA data_version`).

    In WAL mode a reader waits for no writer: the question is a look at shared memory, a few microseconds. Where it would
    have to wait all the same, it is not answered.
    """

    def __init__(self, path: Path) -> None:
        """Of a SQLite file that is there. Raises `sqlite3.Error`."""
        # From one thread at a time, which need not be the one that opens it.
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA query_only = ON")

    def count(self) -> int | None:
        """A number that was never there before once anything was committed; None when it cannot be told now."""
        try:
            [(count,)] = self._db.execute("PRAGMA data_version").fetchall()
        except sqlite3.Error:  # locked, broken, closed: who asks the database for more is told so
            return None
        return int(count)

    def close(self) -> None:
        """Again is fine."""
        self._db.close()
