"""The main table of metrics in each of its forms: its columns, and how many rows there are for each image."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from exportd.verifying.container import BROKEN, Contents, lines
from exportd.verifying.counts import parse_xml
from exportd.verifying.findings import Damaged
from exportd.verifying.papers import LONGEST

IMAGE = "Image Name"

OBJECTS = frozenset({"Polygon ID", "Capsule ID"})
"""Columns of tables with a row per object."""

MAX_GROUP = 1 << 30
"""Bytes of one column of a row group, unpacked."""

MAX_FIELD = 1 << 20
"""Characters of one cell."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Of a table; None for what this form cannot tell without being read as a whole."""

    total: int
    images: Counter[str] | None = None
    columns: tuple[str, ...] | None = None

    @property
    def of_objects(self) -> bool:
        """Whether the table has a row per object."""
        return self.columns is not None and bool(OBJECTS & set(self.columns))


def _csv(contents: Contents, path: str) -> Rows:
    csv.field_size_limit(MAX_FIELD)
    with contents.text(path) as text:
        try:
            rows = csv.reader(text, strict=True)
            columns = tuple(next(rows, []))
            return _counted(columns, (_unquoted(row[_place(columns, path)]) for row in rows if row))
        except (csv.Error, UnicodeDecodeError, IndexError):
            raise Damaged(path, "it is no CSV with a name of an image in each row") from None


def _unquoted(cell: str) -> str:
    """Without the mark that keeps a spreadsheet from running it."""
    return cell[1:] if re.match(r"'+[=+\-@\t\r]", cell) else cell


def _place(columns: tuple[str, ...], path: str) -> int:
    for place, column in enumerate(columns):
        if column in (IMAGE, "Image"):
            return place
    raise Damaged(path, f"it has no column {IMAGE}")


def _counted(columns: tuple[str, ...], names: Iterable[str]) -> Rows:
    images = Counter(names)
    return Rows(images.total(), images, columns)


def _json(contents: Contents, path: str) -> Rows:
    """The first table. Records are a line each, so that the document need not be held."""
    columns: tuple[str, ...] | None = None
    images: Counter[str] = Counter()
    with contents.text(path) as text:
        for line in lines(text, path, LONGEST):
            if columns is None:
                if line.endswith('"rows":['):
                    columns = _headers(line, path)
            elif line.startswith("]"):
                return Rows(images.total(), images, columns)
            elif line:
                record = _parsed(line.rstrip(","), path)
                images[str(record.get(columns[_place(columns, path)]))] += 1
    raise Damaged(path, "its first table has no end")


def _headers(line: str, path: str) -> tuple[str, ...]:
    found = _parsed(f"{line}]}}", path).get("columns")
    if not isinstance(found, list):
        raise Damaged(path, "its first table has no columns")
    return tuple(str(column.get("name")) for column in found if isinstance(column, dict))


def _parsed(text: str, path: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Damaged(path, "a line of it is no JSON object")
    return value


def _parquet(contents: Contents, path: str) -> Rows:
    with contents.spooled(path) as file:
        try:
            table = pq.ParquetFile(file)
            columns = tuple(table.schema_arrow.names)
            place = _place(columns, path)
            for group in range(table.num_row_groups):
                if table.metadata.row_group(group).column(place).total_uncompressed_size > MAX_GROUP:
                    raise Damaged(path, "a group of its rows is too large to be read")
            images: Counter[str] = Counter()
            for batch in table.iter_batches(columns=[columns[place]]):
                images.update(map(str, batch.column(0).to_pylist()))
        except (pa.ArrowException, OSError, ValueError):
            raise Damaged(path, "it is no Parquet that can be read") from None
    return Rows(images.total(), images, columns)


def _excel(contents: Contents, path: str) -> Rows:
    """Of the first sheet only the rows are counted."""
    count = 0

    def start(tag: str, _: dict[str, str]) -> None:
        nonlocal count
        count += tag == "row"

    with contents.spooled(path) as file:
        try:
            with zipfile.ZipFile(file) as book, book.open("xl/worksheets/sheet1.xml") as sheet:
                parse_xml(sheet, path, start)
        except (*BROKEN, KeyError):
            raise Damaged(path, "it is no workbook that can be read") from None
    return Rows(max(0, count - 1))


SHEET_ROWS = 1_048_576
"""What a sheet holds; the rest of a longer table is on another one."""

TABLES: tuple[tuple[str, Callable[[Contents, str], Rows]], ...] = (
    ("metrics/metrics.csv", _csv),
    ("metrics/metrics.json", _json),
    ("metrics/metrics.parquet", _parquet),
    ("metrics/metrics.xlsx", _excel),
)
