"""Rows of metrics on their way from whoever measures to whoever writes: on disk, so that memory holds some of them only.

Each table is a Parquet file, https://parquet.apache.org/docs/file-format/, which is what the `parquet` format gives away;
the other forms are read from it in batches, and the summary a column at a time. Columns are UTF-8 text, int64 or float64,
all nullable; what does not exist or is not finite is null. The same rows in the same order give the same bytes, however
they were parted into blocks.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from exportd.formats.tabular import Block, Column, Kind, Table, Values

GROUP_ROWS = 20_000
"""Of a row group, which is what is held until it is written: 3 MB in 20 columns, packed in some 20 ms."""

BATCH_ROWS = 1_000
"""Of a batch for the other writers: a few milliseconds of work."""

_TYPES = {Kind.TEXT: pa.string(), Kind.INTEGER: pa.int64(), Kind.NUMBER: pa.float64()}


class Spool:
    """The rows of some tables, below a folder that exists, is private and is removed by whoever made it.

    Rows are appended first and read afterwards: a table's first reader ends its file. Closing ends them all.
    """

    def __init__(self, folder: Path, tables: Sequence[Table]) -> None:
        self.tables = tuple(tables)
        self._files = {table.file: _File(folder / f"{table.file}.parquet", table) for table in self.tables}

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, block: Block) -> None:
        """Raises ValueError when columns are missing, of unequal length, or the table has been read already."""
        self._files[block.table.file].append(block)

    def close(self) -> None:
        with ExitStack() as stack:  # the disk may be full, and the others' descriptors are closed even so
            for file in self._files.values():
                stack.callback(file.close)

    def rows(self, table: Table) -> int:
        return self._files[table.file].rows

    def path(self, table: Table) -> Path:
        """The whole Parquet file."""
        return self._files[table.file].complete()

    def batches(self, table: Table, rows: int = BATCH_ROWS) -> Generator[pa.RecordBatch, None, None]:
        """All rows in order, at most so many at a time; a row group at a time is in memory."""
        # Buffered ahead, all row groups would be in memory with the first batch.
        with pq.ParquetFile(self.path(table), pre_buffer=False) as file:
            yield from file.iter_batches(rows, use_threads=False)

    def numbers(self, table: Table, column: Column) -> NDArray[np.float64]:
        """One column of INTEGER or NUMBER, NaN where there is no value; 8 bytes a row."""
        with pq.ParquetFile(self.path(table), pre_buffer=False) as file:
            found = file.reader.read_column(table.columns.index(column))
        return np.asarray(found.cast(pa.float64(), safe=False).to_numpy(), np.float64)


class _File:
    """One table's file. It is opened with its first rows or when it is asked for: what is not written holds nothing."""

    def __init__(self, path: Path, table: Table) -> None:
        self.rows = 0
        self._path = path
        self._table = table
        self._schema = pa.schema([(column.header, _TYPES[column.kind]) for column in table.columns])
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[Block] = []
        self._held = 0
        self._complete = False

    def append(self, block: Block) -> None:
        lengths = {len(values) for values in block.values}
        if len(block.values) != len(self._table.columns) or len(lengths) != 1:
            raise ValueError(f"a block of {self._table.name} has columns of {sorted(lengths)} rows")
        if self._complete:
            raise ValueError(f"{self._table.name} has been read already")
        (count,) = lengths
        self.rows += count
        while self._held + count >= GROUP_ROWS:
            taken = GROUP_ROWS - self._held
            self._hold(Block(self._table, tuple(values[:taken] for values in block.values)), taken)
            self._flush()
            block = Block(self._table, tuple(values[taken:] for values in block.values))
            count -= taken
        self._hold(block, count)

    def _hold(self, block: Block, count: int) -> None:
        if count:
            self._pending.append(block)
            self._held += count

    def complete(self) -> Path:
        if not self._complete:
            self._flush()
            self.close()
            self._complete = True
        return self._path

    def close(self) -> None:
        self._pending, self._held = [], 0
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if self._writer is None:
            texts = [column.header for column in self._table.columns if column.kind is Kind.TEXT]
            # Measures hardly repeat; a dictionary of them takes ten times as long and saves nothing.
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="snappy", use_dictionary=texts)
        if self._pending:
            parts = zip(*(block.values for block in self._pending), strict=True)
            arrays = [_array(column.kind, values) for column, values in zip(self._table.columns, parts, strict=True)]
            self._writer.write_table(pa.table(arrays, schema=self._schema))
        self._pending, self._held = [], 0


def _array(kind: Kind, parts: Sequence[Values]) -> pa.Array:
    """The values of one column, one part after the other."""
    if kind is Kind.TEXT:
        return _texts(list(chain.from_iterable(parts)))
    if kind is Kind.INTEGER:
        return _integers(parts)
    numbers = np.concatenate([np.asarray(values, np.float64) for values in parts])
    return pa.array(numbers, mask=~np.isfinite(numbers))


def _integers(parts: Sequence[Values]) -> pa.Array:
    if all(isinstance(values, np.ndarray) and values.dtype == np.int64 for values in parts):
        return pa.array(np.concatenate([np.asarray(values) for values in parts]))
    # A float would not hold every integer, so each value is looked at.
    return pa.array([None if _absent(v) else int(v) for v in chain.from_iterable(parts)], pa.int64())


def _texts(values: list[str | int | float | None]) -> pa.Array:
    texts = [None if _absent(value) else str(value) for value in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # lone surrogates, which UTF-8 cannot hold
        return pa.array([None if text is None else _sound(text) for text in texts], pa.string())


def _sound(text: str) -> str:
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if "\ud800" <= character <= "\udfff" else character for character in text
    )


def _absent(value: str | int | float | None) -> bool:
    return value is None or (isinstance(value, float) and not np.isfinite(value))
