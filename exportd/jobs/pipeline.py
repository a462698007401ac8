"""One pass from members to the staging file: lanes that prepare side by side, one writer that takes them in order.

Each lane is a task that runs a generator of members in worker threads, a batch of some megabytes a time, and is ahead of the
writer by a bounded number of batches. So the next stages are prepared while one is written, memory does not depend on the
project, and the archive still has its members in the fixed order. Where pictures are looked at, several generators
share the images of a lane and take turns, so that a stage that computes much has all processors. What they measure goes
through the writer's hands too, so that rows are in order; a later lane reads them and writes the tables. A cancel falls
between two pieces: threads look for it at every piece, and generators are closed wherever they stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import astuple, dataclass
from functools import partial

import trio

from exportd.formats.member import Member, Tick, Warn
from exportd.formats.tabular import Block
from exportd.formats.zipping import Entry, directory, entry
from exportd.store.artifacts import Staged
from exportd.store.rows import RowFile, Rows

BATCH_BYTES = 2 << 20
"""A thread hop costs about as much as hashing 100 KiB, so a batch is much larger than that."""

BATCH_IMAGES = 50
"""Images after which a batch ends however small it is, so that progress moves and hops stay short."""

AHEAD = 2
"""Batches that a generator may have ready."""

LANES = 3
"""That are prepared at a time: enough for all processors, and each one more is some megabytes."""

Work = Iterator[Member | Block | Tick | Warn]
_Receive = trio.MemoryReceiveChannel["Batch"]


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """Members of one stage in their order. Each of `works` makes a generator of them, in the worker thread that begins it."""

    stage: str
    works: Sequence[Callable[[], Work]]
    turn: int | None = None
    """Images of a generator after which it is the next one's turn; None where there is only one."""
    waits: bool = False
    """Whether it may begin only when what comes first is over."""
    after: Lane | None = None
    """One before it, whose results it reads: it may begin only when that one is over."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Bytes of the archive in their order, an `Entry` after the last byte of each member; among them blocks of tables."""

    pieces: tuple[bytes | Entry | Block, ...]
    images: int
    item: str | None
    warnings: tuple[Warn, ...]
    turn_over: bool
    """The next batch is another generator's."""


class _Packer:
    """Collects pieces into batches, none of which reaches beyond a turn."""

    def __init__(self, turn: int | None) -> None:
        self._turn = turn
        self._left = turn or 0
        self._clear()

    def _clear(self) -> None:
        self._pieces: list[bytes | Entry | Block] = []
        self._size = 0
        self._images = 0
        self._item: str | None = None
        self._warnings: list[Warn] = []

    @property
    def _turn_over(self) -> bool:
        return self._turn is not None and self._left == 0

    @property
    def full(self) -> bool:
        return self._size >= BATCH_BYTES or self._images >= BATCH_IMAGES or self._turn_over

    def add(self, value: object) -> None:
        match value:
            case Tick(item):
                self._images += 1
                self._left -= 1
                self._item = item
            case Warn():
                self._warnings.append(value)
            case Entry():
                self._pieces.append(value)
            case Block():
                self._pieces.append(value)
                self._size += value.size
            case bytes():
                self._pieces.append(value)
                self._size += len(value)
            case _:
                raise TypeError(f"an exporter gave {type(value).__name__}")

    def take(self) -> Batch:
        batch = Batch(tuple(self._pieces), self._images, self._item, tuple(self._warnings), self._turn_over)
        if self._turn_over:
            self._left = self._turn or 0
        self._clear()
        return batch


Look = Callable[[], None]
"""What a worker thread does between two pieces: raises `trio.Cancelled` when the job is cancelled."""


def batches(work: Work, look: Look, turn: int | None = None) -> Generator[Batch, None, None]:
    """The work as batches; for worker threads of trio. Every step looks for the job's cancel."""
    packer = _Packer(turn)
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
    """Writes batches to the staging file, and the entries beside it. Blocking. Blocks of tables go to `hold`, in order."""

    def __init__(self, staged: Staged, look: Look, hold: Callable[[Block], None]) -> None:
        self._staged, self._look, self._hold = staged, look, hold
        self._begin = 0
        self._written: RowFile | None = None

    @property
    def entries(self) -> Entries:
        """The members that are written by now, in order. Of a worker thread; while nothing is written."""
        return Entries(self._rows.rows())

    @property
    def _rows(self) -> RowFile:
        if self._written is None:
            self._written = RowFile(self._staged.temporary())
        return self._written

    def write(self, batch: Batch) -> None:
        """Appends a batch. Raises `InsufficientSpace`, OSError."""
        for piece in batch.pieces:
            self._look()
            match piece:
                case Entry():
                    self._rows.append((self._begin, *astuple(piece)))
                    self._begin = self._staged.size
                case Block():
                    self._hold(piece)
                case _:
                    self._staged.write(piece)

    def finish(self) -> str:
        """Writes the directory and puts everything on the disk; the archive's SHA-256 in hex."""
        for piece in directory(self.entries.placed(), self._staged.size):
            self._look()
            self._staged.write(piece)
        return self._staged.flush()


class Entries:
    """Members of the archive, read from the disk one by one, as often as one likes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Entry]:
        return (member for member, _ in self.placed())

    def placed(self) -> Iterator[tuple[Entry, int]]:
        """Each with the byte of the archive at which it begins."""
        for begin, *fields in self._rows:
            yield Entry(*fields), begin


class Pipeline:
    """Runs lanes into a writer. `tell` is called after each batch with the lane's place and the batch."""

    def __init__(
        self, writer: Writer, limiter: trio.CapacityLimiter, look: Look, tell: Callable[[int, Batch], None]
    ) -> None:
        self._writer = writer
        self._limiter, self._look = limiter, look
        self._tell = tell

    async def run(self, lanes: list[tuple[int, Lane]], first: Callable[[], Awaitable[None]] | None = None) -> None:
        """Prepares lanes side by side and writes them one after the other; lanes that wait begin after `first`.

        A cancel stops all of it; the staging file is then of no use.
        """
        async with trio.open_nursery() as nursery:
            starts = _Starts(nursery, waiting=first is not None)
            prepared = [self._prepared(lane, starts) for _, lane in lanes]
            if first is not None:
                nursery.start_soon(starts.after, first)
            over, begun = list[Lane](), 0
            for place, (index, lane) in enumerate(lanes):
                for _, following in lanes[begun : place + LANES]:
                    if following.after is not None and following.after not in over:
                        break
                    prepared[begun][0]()
                    begun += 1
                await self._write(index, prepared[place][1])
                over.append(lane)

    async def _write(self, index: int, channels: Sequence[_Receive]) -> None:
        """The batches of all channels, of each as many as its turn has; a channel that has ended is left out."""
        with ExitStack() as stack:
            for channel in channels:
                stack.enter_context(channel)
            left = deque(channels)
            while left:
                async for batch in left[0]:
                    await trio.to_thread.run_sync(self._writer.write, batch, limiter=self._limiter)
                    self._tell(index, batch)
                    if batch.turn_over:
                        left.rotate(-1)
                        break
                else:
                    left.popleft()

    def _prepared(self, lane: Lane, starts: _Starts) -> tuple[Callable[[], None], list[_Receive]]:
        """What starts the lane, and where its batches come out."""
        calls, ready = list[Callable[[], Awaitable[None]]](), list[_Receive]()
        for work in lane.works:
            send, receive = trio.open_memory_channel[Batch](AHEAD)
            calls.append(partial(self._prepare, work, lane.turn, send))
            ready.append(receive)
        return partial(starts.start, calls, f"prepare {lane.stage}", waits=lane.waits), ready

    async def _prepare(self, work: Callable[[], Work], turn: int | None, send: trio.MemorySendChannel[Batch]) -> None:
        async with send:
            await self.each_batch(_made(work), send.send, turn)

    async def each_batch(self, work: Work, take: Callable[[Batch], Awaitable[None]], turn: int | None = None) -> None:
        """Does the work in worker threads and hands over each batch. A cancel closes the work where it stands."""
        with closing_work(work):
            ready = batches(work, self._look, turn)
            with closing(ready):
                while (batch := await trio.to_thread.run_sync(next, ready, None, limiter=self._limiter)) is not None:
                    await take(batch)


class _Starts:
    """Starts the tasks of lanes; those that have to wait for something first, when that is over."""

    def __init__(self, nursery: trio.Nursery, *, waiting: bool) -> None:
        self._nursery = nursery
        self._waiting: list[Callable[[], None]] | None = [] if waiting else None

    def start(self, calls: Sequence[Callable[[], Awaitable[None]]], name: str, *, waits: bool) -> None:
        if waits and self._waiting is not None:
            self._waiting.append(partial(self.start, calls, name, waits=False))
            return
        for call in calls:
            self._nursery.start_soon(call, name=name)

    async def after(self, first: Callable[[], Awaitable[None]]) -> None:
        await first()
        waiting, self._waiting = self._waiting or [], None
        for start in waiting:
            start()


def _made(work: Callable[[], Work]) -> Work:
    """The work, not made before its first step: what it is made of may take as long as there are images."""
    with closing_work(work()) as made:
        yield from made


def closing_work(work: Work) -> closing[Generator[Member | Block | Tick | Warn, None, None]]:
    """Closes the generator wherever it stands: open files of a member that was being read go with it."""
    if not isinstance(work, Generator):
        raise TypeError("a lane's work is a generator")
    return closing(work)
