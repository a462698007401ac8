"""`documentation/metrics_guide.md`: what each column of the metrics in this archive means, from the tables themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exportd.formats.member import Member
from exportd.formats.tabular import Column, Kind, Table

PATH = "documentation/metrics_guide.md"

_KINDS = {Kind.TEXT: "text", Kind.INTEGER: "whole number", Kind.NUMBER: "number"}

STATISTICS = (
    ("Count", "how many values exist; the others are of these"),
    ("Mean", "their sum divided by their count"),
    ("SD (sample)", "sqrt(Σ(x − mean)² / (n − 1)); empty for fewer than two values"),
    ("Median", "the middle value; of an even count the mean of the two in the middle"),
    ("Q1, Q3", "25 % and 75 % quantile, interpolated linearly between the two nearest values"),
    ("Minimum, Maximum", "the smallest and the greatest value"),
)
"""Of the summary, in the order of its columns."""


def metrics_guide(tables: Sequence[Table], scale: float | None) -> Member:
    """The guide for these tables. `scale` is µm per pixel, None where lengths and areas are in pixels."""
    text = "\n".join(_guide(tables, scale)) + "\n"
    return Member(PATH, [text.encode()], "text/markdown; charset=utf-8")


def _guide(tables: Sequence[Table], scale: float | None) -> Iterator[str]:
    yield "# Metrics"
    yield from _units(scale)
    yield from _objects()
    for table in tables:
        yield from _table(table)
    if any(table.summarised for table in tables):
        yield from _summary(tables)


def _units(scale: float | None) -> Iterator[str]:
    yield from ["", "## Units", ""]
    if scale is None:
        yield "No scale was given: lengths are pixels (px), areas square pixels (px²). Units stand in the header."
    else:
        yield f"The scale is s = {scale!r} µm per pixel. Everything is measured in pixels first, then scaled: lengths × s give"
        yield f"µm, areas × s² give µm² (1 px² = {scale * scale:.6g} µm²). Units stand in the header; ratios have none."
    yield ""
    yield "Numbers are not rounded. An empty cell (null in JSON and Parquet) is a value that does not exist, as of a division"
    yield "by zero or of an object without area; it is not 0."


def _objects() -> Iterator[str]:
    yield from [
        "",
        "## Objects",
        "",
        "Polygons are measured as they were drawn, without simplification, by exact geometry and not by counting pixels,",
        "except where a definition speaks of pixels. A hole is an internal polygon; it belongs to the smallest object that",
        "contains 99 % of its area and is more than 1.05 times as large. Its area is subtracted, and its outline counts only",
        "where a definition says so. Numbers of objects are those of the overlay and of all other formats.",
        "",
        "Objects flagged `complete: false` are left out of the metrics; they keep their numbers, so there may be gaps.",
    ]


def _table(table: Table) -> Iterator[str]:
    yield from ["", f"## {plain(table.name)}", ""]
    yield f"A sheet of that name in the workbook; in the other forms the file `{table.file}` or the table of that name."
    yield from ["", "| column | values | definition |", "|---|---|---|"]
    yield from (_column(column) for column in table.columns)


def _column(column: Column) -> str:
    return f"| {plain(column.header)} | {_KINDS[column.kind]} | {plain(column.meaning)} |"


def _summary(tables: Sequence[Table]) -> Iterator[str]:
    names = ", ".join(plain(table.name) for table in tables if table.summarised)
    yield from ["", "## Summary", "", f"Statistics over all rows of each numeric column of: {names}.", ""]
    yield from ["| statistic | definition |", "|---|---|"]
    yield from (f"| {name} | {plain(meaning)} |" for name, meaning in STATISTICS)


def plain(text: str) -> str:
    """Text of others on one line, without the characters that Markdown would take for its own."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in " ".join(text.split()))
