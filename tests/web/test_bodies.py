"""How an archive is read while it is sent: from memory in the event loop, a chunk a pass; from a disk in threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from exportd.web.bodies import CHUNK, THREADS, ArchiveBody, Reader

BYTES = os.urandom(CHUNK + 1000)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[int]:
    """An open file, of which memory holds all."""
    fd = os.open(tmp_path / "archive", os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, BYTES)
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def held(archive: int) -> int:
    """The same, where the kernel tells what memory holds."""
    if not in_memory(archive):
        pytest.skip("this file system does not tell what is in memory")
    return archive


def in_memory(fd: int) -> bool:
    """Whether the kernel says that it holds the begin of the file."""
    try:
        return os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT) > 0
    except OSError:
        return False


def forget(fd: int) -> None:
    """Memory holds none of the file any more."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


class Passes(trio.abc.Instrument):
    """Counts the passes of the event loop."""

    count = 0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self.count += 1


def busy(reader: Reader) -> None:
    """No thread can be had."""
    for _ in range(THREADS):
        reader._threads.acquire_on_behalf_of_nowait(object())


async def test_the_whole_is_read_in_chunks_of_a_bounded_size(archive: int) -> None:
    parts = [part async for part in ArchiveBody(archive, 0, len(BYTES), Reader())]
    assert b"".join(parts) == BYTES
    assert max(map(len, parts)) <= CHUNK
    assert [part async for part in ArchiveBody(archive, 10, 20, Reader())] == [BYTES[10:30]]


async def test_what_memory_holds_needs_no_thread(held: int) -> None:
    reader = Reader()
    busy(reader)
    with trio.fail_after(10):
        assert b"".join([part async for part in ArchiveBody(held, 0, len(BYTES), reader)]) == BYTES


async def test_what_a_disk_holds_does_not_wait_in_the_loop(held: int) -> None:
    reader = Reader()
    busy(reader)
    forget(held)
    if in_memory(held):
        pytest.skip("this file system does not forget")
    forget(held)  # the question may have had it read ahead
    with trio.move_on_after(0.1) as waiting:
        await reader.read(held, 10, 0)
    assert waiting.cancelled_caught, "there is no thread that could read it"
    assert await Reader().read(held, 10, CHUNK) == BYTES[CHUNK : CHUNK + 10]


async def test_a_file_system_that_does_not_tell_is_read_in_threads() -> None:
    fd = os.memfd_create("archive")
    try:
        os.write(fd, BYTES)
        assert b"".join([part async for part in ArchiveBody(fd, 0, len(BYTES), Reader())]) == BYTES
    finally:
        os.close(fd)


async def test_one_chunk_is_read_in_a_pass_of_the_loop_whoever_else_could_be_served(held: int) -> None:
    reader, passes = Reader(), Passes()
    read_in: list[int] = []

    async def download() -> None:
        read_in.extend([passes.count async for _ in ArchiveBody(held, 0, len(BYTES), reader)])

    trio.lowlevel.add_instrument(passes)
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(download)
    finally:
        trio.lowlevel.remove_instrument(passes)
    assert len(read_in) == 10
    assert len(set(read_in)) == len(read_in)


async def test_nothing_more_is_read_for_who_has_gone(archive: int) -> None:
    body = ArchiveBody(archive, 0, len(BYTES), Reader())
    await anext(body)
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(body)
    assert scope.cancelled_caught
    assert await anext(body) == BYTES[CHUNK:], "a cancel took nothing with it"


@pytest.mark.parametrize("busy_threads", [True, False])
async def test_an_archive_that_ends_too_early_is_an_error(held: int, busy_threads: bool) -> None:
    reader = Reader()
    if busy_threads:
        busy(reader)
    else:
        forget(held)
    body = ArchiveBody(held, 0, len(BYTES) + 1, reader)
    with trio.fail_after(10), pytest.raises(OSError, match="shorter"):
        async for _ in body:
            pass
