"""Tables of metrics for tests: a small one, and how its members are read."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from exportd.formats.member import Member
from exportd.formats.spool import Spool
from exportd.formats.summary import with_summary
from exportd.formats.tabular import Block, Column, Kind, Table

NAME, NUMBER, AREA = "Image Name", "Polygon ID", "Area (px²)"
OBJECTS = Table(
    "Polygon Metrics",
    "metrics",
    (Column(NAME, Kind.TEXT), Column(NUMBER, Kind.INTEGER, "1, 2, ..."), Column(AREA, Kind.NUMBER, "shoelace")),
    summarised=True,
)
SERIES = Table(
    "WoundTimeSeries",
    "wound_time_series",
    (Column("Order", Kind.INTEGER), Column(NAME, Kind.TEXT), Column("Wound Area (%)"), Column("Note", Kind.TEXT)),
)

Row = tuple[str | int | float | None, ...]


def block(rows: Iterable[Row], table: Table = OBJECTS) -> Block:
    columns = list(zip(*rows, strict=True)) or [()] * len(table.columns)
    return Block(table, tuple(columns))


def spool_of(folder: Path, *blocks: Block, tables: tuple[Table, ...] = (OBJECTS,)) -> Spool:
    spool = Spool(folder, with_summary(tables))
    for each in blocks:
        spool.append(each)
    return spool


def many(rows: int, seed: int = 0, step: int = 500) -> Iterator[Block]:
    """Objects of random size."""
    random = np.random.default_rng(seed)
    for begin in range(0, rows, step):
        count = min(step, rows - begin)
        numbers = np.arange(begin, begin + count, dtype=np.int64)
        yield Block(OBJECTS, ([f"{n // 30}.png" for n in numbers], numbers, random.random(count) * 1000))


def content(member: Member) -> bytes:
    chunks = [chunk for chunk in member.chunks if isinstance(chunk, bytes)]
    return b"".join(chunks)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
