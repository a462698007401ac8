"""One pass from members to the staging file: lanes that prepare side by side, one writer that takes them in order.

Each lane is a task that runs a generator of members in worker threads, a batch of about a megabyte a time, and is ahead
of the writer by a bounded number of batches. So the next stages are prepared while one is written, memory does not depend on
the project, and the archive still has its members in the fixed order. A cancel falls between two pieces: threads look
for it at every piece, and generators are closed wherever they stand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import trio

from exportd.formats.member import Member, Tick, Warn
from exportd.formats.zipping import Entry, directory, entry
from exportd.store.artifacts import Staged

BATCH_BYTES = 1 << 20
"""A thread hop costs about as much as hashing 100 KiB, so a batch is much larger than that."""

BATCH_IMAGES = 50
"""Images after which a batch ends however small it is, so that progress moves and hops stay short."""

AHEAD = 2
"""Batches that a lane may have ready."""

Work = Iterator[Member | Tick | Warn]


@dataclass(frozen=True, slots=True)
class Lane:
    """Members of one stage in their order. `work` makes the generator, which does nothing before a worker thread runs it."""

    stage: str
    work: Callable[[], Work]
    waits: bool = False
    """Whether it may begin only when what comes first is over."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Bytes of the archive in their order, an `Entry` after the last byte of each member."""

    pieces: tuple[bytes | Entry, ...]
    images: int
    item: str | None
    warnings: tuple[str, ...]


class _Packer:
    """Collects pieces into batches."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._pieces: list[bytes | Entry] = []
        self._size = 0
        self._images = 0
        self._item: str | None = None
        self._warnings: list[str] = []

    @property
    def full(self) -> bool:
        return self._size >= BATCH_BYTES or self._images >= BATCH_IMAGES

    def add(self, value: object) -> None:
        match value:
            case Tick(item):
                self._images += 1
                self._item = item
            case Warn(sentence):
                self._warnings.append(sentence)
            case Entry():
                self._pieces.append(value)
            case bytes():
                self._pieces.append(value)
                self._size += len(value)
            case _:
                raise TypeError(f"an exporter gave {type(value).__name__}")

    def take(self) -> Batch:
        batch = Batch(tuple(self._pieces), self._images, self._item, tuple(self._warnings))
        self._clear()
        return batch


Look = Callable[[], None]
"""What a worker thread does between two pieces: raises `trio.Cancelled` when the job is cancelled."""


def batches(work: Work, look: Look) -> Generator[Batch, None, None]:
    """The work as batches; for worker threads of trio. Every step looks for the job's cancel."""
    packer = _Packer()
    for value in work:
        look()
        if isinstance(value, Member):
            yield from _member(value, packer, look)
        else:
            packer.add(value)
        if packer.full:
            yield packer.take()
    yield packer.take()


def _member(member: Member, packer: _Packer, look: Look) -> Generator[Batch, None, None]:
    with closing(entry(member)) as body:
        while True:
            try:
                piece = next(body)
            except StopIteration as stop:
                packer.add(stop.value)
                return
            look()
            packer.add(piece)
            if packer.full:
                yield packer.take()


class Writer:
    """Writes batches to the staging file and remembers the entries. Blocking."""

    def __init__(self, staged: Staged, look: Look) -> None:
        self._staged, self._look = staged, look
        self._begin = 0
        self._entries: list[tuple[Entry, int]] = []

    @property
    def entries(self) -> list[Entry]:
        """The members that are written, in order."""
        return [e for e, _ in self._entries]

    def write(self, batch: Batch) -> None:
        """Appends a batch. Raises `InsufficientSpace`, OSError."""
        for piece in batch.pieces:
            self._look()
            if isinstance(piece, Entry):
                self._entries.append((piece, self._begin))
                self._begin = self._staged.size
            else:
                self._staged.write(piece)

    def finish(self) -> str:
        """Writes the directory and puts everything on the disk; the archive's SHA-256 in hex."""
        for piece in directory(self._entries, self._staged.size):
            self._look()
            self._staged.write(piece)
        return self._staged.flush()


class Pipeline:
    """Runs lanes into a writer. `tell` is called after each batch with the lane's place and the batch."""

    def __init__(
        self, writer: Writer, limiter: trio.CapacityLimiter, look: Look, tell: Callable[[int, Batch], None]
    ) -> None:
        self._writer = writer
        self._limiter, self._look = limiter, look
        self._tell = tell

    async def run(self, lanes: list[tuple[int, Lane]], first: Callable[[], Awaitable[None]] | None = None) -> None:
        """Prepares all lanes side by side and writes them one after the other; lanes that wait begin after `first`.

        A cancel stops all of it; the staging file is then of no use.
        """
        async with trio.open_nursery() as nursery:
            ready, waiting = [], list[Callable[[], None]]()
            for _, lane in lanes:
                send, receive = trio.open_memory_channel[Batch](AHEAD)
                start = partial(nursery.start_soon, self._prepare, lane, send, name=f"prepare {lane.stage}")
                if lane.waits:
                    waiting.append(start)
                else:
                    start()
                ready.append(receive)
            if first is not None:
                nursery.start_soon(_one_after_the_other, first, waiting)
            for (index, _), receive in zip(lanes, ready, strict=True):
                async with receive:
                    async for batch in receive:
                        await trio.to_thread.run_sync(self._writer.write, batch, limiter=self._limiter)
                        self._tell(index, batch)

    async def _prepare(self, lane: Lane, send: trio.MemorySendChannel[Batch]) -> None:
        async with send:
            await self.each_batch(lane.work(), send.send)

    async def each_batch(self, work: Work, take: Callable[[Batch], Awaitable[None]]) -> None:
        """Does the work in worker threads and hands over each batch. A cancel closes the work where it stands."""
        with closing_work(work):
            ready = batches(work, self._look)
            with closing(ready):
                while (batch := await trio.to_thread.run_sync(next, ready, None, limiter=self._limiter)) is not None:
                    await take(batch)


async def _one_after_the_other(first: Callable[[], Awaitable[None]], then: list[Callable[[], None]]) -> None:
    await first()
    for start in then:
        start()


def closing_work(work: Work) -> closing[Generator[Member | Tick | Warn, None, None]]:
    """Closes the generator wherever it stands: open files of a member that was being read go with it."""
    if not isinstance(work, Generator):
        raise TypeError("a lane's work is a generator")
    return closing(work)
