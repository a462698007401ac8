"""Tables of metrics as files: a workbook, or a file per table. Rows come from the spool, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import orjson
import pyarrow as pa

from exportd.formats.cells import csv_rows
from exportd.formats.member import Member
from exportd.formats.spool import Spool
from exportd.formats.summary import summarise
from exportd.formats.tabular import Table
from exportd.formats.workbook import workbook

FOLDER = "metrics/"

READ_BYTES = 1 << 20
"""Of one read from a file of the spool."""

FORMAT_VERSION = 1
"""Of the layout of the JSON document."""

Writer = Callable[[Spool], Iterator[Member]]
"""Members with lazy chunks, for a spool that is full. An empty chunk is a place to look for a cancel. The summary is
filled in by whichever member comes first, among its chunks."""


def excel(spool: Spool) -> Iterator[Member]:
    """One workbook: a sheet per table, the header bold, in sight and with filters. Missing values are blank cells."""
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    yield Member(f"{FOLDER}metrics.xlsx", _summarised(spool, workbook(spool)), media_type, compress=False)


def csv(spool: Spool) -> Iterator[Member]:
    """By RFC 4180, a file per table: UTF-8, decimal point, missing values empty. Text that a spreadsheet would run as a
    formula has a `'` in front."""
    for table in spool.tables:
        chunks = _summarised(spool, _csv(spool, table))
        yield Member(f"{FOLDER}{table.file}.csv", chunks, "text/csv; charset=utf-8; header=present")


def json(spool: Spool) -> Iterator[Member]:
    """One document: each table with its columns, and a record per row. Missing values are null."""
    yield Member(f"{FOLDER}metrics.json", _summarised(spool, _document(spool)), "application/json")


def parquet(spool: Spool) -> Iterator[Member]:
    """A file per table: text, int64 and float64 columns, missing values null."""
    for table in spool.tables:
        chunks = _summarised(spool, _file(spool, table))
        yield Member(f"{FOLDER}{table.file}.parquet", chunks, "application/vnd.apache.parquet", compress=False)


"""In the order of the archive."""


def _summarised(spool: Spool, chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    yield from summarise(spool)
    yield from chunks


def _csv(spool: Spool, table: Table) -> Iterator[bytes]:
    headers = pa.record_batch({str(place): [column.header] for place, column in enumerate(table.columns)})
    yield csv_rows(headers)
    with closing(spool.batches(table)) as batches:
        for batch in batches:
            yield csv_rows(batch)


def _document(spool: Spool) -> Iterator[bytes]:
    yield b'{"format":"exportd metrics","version":%d,"tables":[' % FORMAT_VERSION
    separator = b"\n"
    for table in spool.tables:
        columns = [
            {"name": column.header, "kind": column.kind.value, "meaning": column.meaning} for column in table.columns
        ]
        head = {"name": table.name, "file": table.file, "count": spool.rows(table), "columns": columns}
        yield separator + orjson.dumps(head)[:-1] + b',"rows":['
        yield from _records(spool, table)
        yield b"\n]}"
        separator = b",\n"
    yield b"\n]}\n"


def _records(spool: Spool, table: Table) -> Iterator[bytes]:
    names = [column.header for column in table.columns]
    separator = b"\n"
    with closing(spool.batches(table)) as batches:
        for batch in batches:
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            records = [orjson.dumps(dict(zip(names, row, strict=True))) for row in rows]
            yield separator + b",\n".join(records)
            separator = b",\n"


def _file(spool: Spool, table: Table) -> Iterator[bytes]:
    with spool.path(table).open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk
