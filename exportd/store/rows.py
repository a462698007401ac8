"""Rows of one export on disk, a line of JSON each: appended one by one, read in their order as often as one likes.

What an archive's papers tell of each member is some 500 bytes in memory, and an export may have a million members.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

BUFFER = 64 << 10
"""Bytes that are written or read in one step."""


class RowFile:
    """Rows of what JSON can hold. Blocking; every method may raise OSError. The descriptor, of an empty file, is its
    opener's to close."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = 0
        self._pending: list[bytes] = []
        self._size = 0

    def append(self, row: Sequence[object]) -> None:
        line = orjson.dumps(row) + b"\n"
        self._pending.append(line)
        self._size += len(line)
        if self._size >= BUFFER:
            self._flush()

    def rows(self) -> Rows:
        """Those that were appended by now."""
        self._flush()
        return Rows(self._fd, self._end)

    def _flush(self) -> None:
        pending, self._pending, self._size = b"".join(self._pending), [], 0
        view = memoryview(pending)
        while view:
            written = os.pwrite(self._fd, view, self._end)
            self._end += written
            view = view[written:]


class Rows:
    """Rows that stay as they are, whatever is appended meanwhile. Safe from several threads at once."""

    def __init__(self, fd: int, end: int) -> None:
        self._fd, self._end = fd, end

    def __iter__(self) -> Iterator[list[Any]]:
        rest, at = b"", 0
        while at < self._end:
            data = os.pread(self._fd, min(BUFFER, self._end - at), at)
            at += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield orjson.loads(line)
