"""The summary of tables, which is a table itself: a row for each measure, a column for each statistic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from exportd.formats.spool import Spool
from exportd.formats.tabular import Block, Column, Kind, Table

SUMMARY = Table(
    "Summary",
    "summary",
    (
        Column("Table", Kind.TEXT, "The table that is summarised."),
        Column("Measure", Kind.TEXT, "Its column, with the unit."),
        Column("Count", Kind.INTEGER, "Values that exist; the other statistics are of these."),
        Column("Mean"),
        Column("SD (sample)", meaning="Standard deviation of a sample: the sum of squares is divided by n − 1."),
        Column("Median"),
        Column("Q1", meaning="25 % quantile, interpolated linearly between the two nearest values."),
        Column("Q3", meaning="75 % quantile, interpolated linearly between the two nearest values."),
        Column("Minimum"),
        Column("Maximum"),
    ),
)


def with_summary(tables: Sequence[Table]) -> tuple[Table, ...]:
    """The tables, and after the last one that is summarised the summary, if there is such a table."""
    last = max((place for place, table in enumerate(tables) if table.summarised), default=None)
    return tuple(tables) if last is None else (*tables[: last + 1], SUMMARY, *tables[last + 1 :])


def summarise(spool: Spool) -> Iterator[bytes]:
    """Fills the summary in, once, from the rows of the other tables; an empty chunk for each column that was read.

    Integers are names and numbers of things: their mean says nothing, so columns of NUMBER only.
    """
    if SUMMARY not in spool.tables or spool.rows(SUMMARY):
        return
    rows: list[tuple[str | int | float | None, ...]] = []
    for table in spool.tables:
        if table.summarised:
            for column in table.columns:
                if column.kind is Kind.NUMBER:
                    rows.append((table.name, column.header, *statistics(spool.numbers(table, column))))
                    yield b""
    if rows:
        spool.append(Block(SUMMARY, tuple(zip(*rows, strict=True))))


def statistics(values: NDArray[np.float64]) -> tuple[int | float | None, ...]:
    """Count, mean, sample SD, median, quartiles, minimum and maximum of what exists among the values."""
    found = values[np.isfinite(values)]
    count = len(found)
    if not count:
        return (0, *[None] * 7)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows does not exist
        mean = float(found.mean())
        spread = float(found.std(ddof=1)) if count > 1 else None
        first, median, third = np.quantile(found, (0.25, 0.5, 0.75), overwrite_input=True).tolist()
    return count, mean, spread, median, first, third, float(found.min()), float(found.max())
