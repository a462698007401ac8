"""The bytes of an archive as the body of an answer, read while they are sent."""

from __future__ import annotations

import os
from types import TracebackType

import trio
from quart.wrappers.response import ResponseBody

from exportd.store.pagecache import read_held

CHUNK = 7 << 16
"""Bytes read at once. Each chunk passes through the whole server, which costs as much CPU as copying some 200 KiB, a thread
hop the same again. A chunk and its copy together should stay in a processor's second cache, often 1 MiB: chunks of 1 MiB
cost a third more."""

THREADS = 8
"""That read archives at once; the rest of the pool stays free for others."""


class Reader:
    """Reads for all downloads of one server: what lies in memory in the event loop, what comes from a disk in threads."""

    def __init__(self) -> None:
        self._scratch = memoryview(bytearray(CHUNK))
        self._turn = trio.Lock()
        self._threads = trio.CapacityLimiter(THREADS)

    async def read(self, fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes of the file, and up to `CHUNK`; none at its end. A checkpoint before anything is read; a
        cancel leaves nothing behind. Raises OSError."""
        length = min(length, CHUNK)
        # Whoever has the turn hands it on, to the task that has waited longest, in the loop's next pass: however many
        # clients could be served at once, others wait for one chunk at a time and not for one of each.
        async with self._turn:
            held = self._held(fd, length, offset)
        if held is not None:
            return held
        return await trio.to_thread.run_sync(os.pread, fd, length, offset, limiter=self._threads)

    def _held(self, fd: int, length: int, offset: int) -> bytes | None:
        count = read_held(fd, self._scratch[:length], offset)
        return None if count is None else bytes(self._scratch[:count])


class ArchiveBody(ResponseBody):
    """`length` bytes of an open file from `start`. Whoever opened it closes it, after the body."""

    def __init__(self, fd: int, start: int, length: int, reader: Reader) -> None:
        self._fd, self._at, self._left, self._reader = fd, start, length, reader

    async def __aenter__(self) -> ArchiveBody:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        return None

    def __aiter__(self) -> ArchiveBody:
        return self

    async def __anext__(self) -> bytes:
        if self._left <= 0:
            raise StopAsyncIteration
        data = await self._reader.read(self._fd, self._left, self._at)
        if not data:  # shorter than it was written: an error ends the connection, and the client sees the cut
            raise OSError("the archive is shorter than its record says")
        self._at += len(data)
        self._left -= len(data)
        return data
