"""Rows of metrics on their way from whoever measures to whoever writes: on disk, so that memory holds some of them only.

Each table is a Parquet file, https://parquet.apache.org/docs/file-format/, which is what the `parquet` format gives away;
the other forms are read from it in batches, and the summary a column at a time. Columns are UTF-8 text, int64 or float64,
all nullable; what does not exist or is not finite is null. The same rows in the same order give the same bytes, however
they were parted into blocks.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from exportd.formats.tabular import Block, Column, Kind, Table, Values

GROUP_ROWS = 5_000
"""Of a row group, which is what is held until it is written: 2 MB in 50 columns, packed in some 10 ms."""

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
        self._pending = [_Numbers() if column.kind is Kind.NUMBER else _Others(column.kind) for column in table.columns]
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
        begin = 0
        while begin < count:
            end = min(count, begin + GROUP_ROWS - self._held)
            for pending, values in zip(self._pending, block.values, strict=True):
                pending.add(values[begin:end])
            self._held += end - begin
            begin = end
            if self._held == GROUP_ROWS:
                self._flush()

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
        if self._held:
            self._writer.write_table(pa.table([pending.array() for pending in self._pending], schema=self._schema))
            for pending in self._pending:
                pending.clear()
        self._held = 0


class _Numbers:
    """A column's values until they are written, side by side: a block of few rows is an array for each column, which would
    take twenty times the memory."""

    def __init__(self) -> None:
        self._values = np.empty(0)
        self._held = 0

    def add(self, values: Values) -> None:
        if not len(self._values):
            self._values = np.empty(GROUP_ROWS)
        self._values[self._held : self._held + len(values)] = np.asarray(values, np.float64)
        self._held += len(values)

    def array(self) -> pa.Array:
        numbers = self._values[: self._held]
        return pa.array(numbers, mask=~np.isfinite(numbers))

    def clear(self) -> None:
        self._held = 0


class _Others:
    """The same for texts and whole numbers; a float would not hold every one of these."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._values: list[str | int | float | None] = []

    def add(self, values: Values) -> None:
        self._values.extend(values.tolist() if isinstance(values, np.ndarray) else values)

    def array(self) -> pa.Array:
        if self._kind is Kind.TEXT:
            return _texts(self._values)
        return pa.array([_integer(value) for value in self._values], pa.int64())

    def clear(self) -> None:
        self._values = []


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


def _integer(value: str | int | float | None) -> int | None:
    return None if value is None or _absent(value) else int(value)


def _absent(value: str | int | float | None) -> bool:
    return value is None or (isinstance(value, float) and not np.isfinite(value))
