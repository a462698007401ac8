"""Rows on disk, read back by pyarrow 25.0.1 and pandas 2.3.3 from the Parquet file."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spooled import AREA, NAME, NUMBER, OBJECTS, Row, block, descriptors, many, spool_of

from exportd.formats import spool as module
from exportd.formats.spool import Spool
from exportd.formats.tabular import Block

texts = st.none() | st.text() | st.text(st.characters(categories=["Cs", "Cc", "L"]))
integers = st.none() | st.integers(-(2**63), 2**63 - 1)
numbers = st.none() | st.floats() | st.integers(-(10**300), 10**300)
tables = st.lists(st.tuples(texts, integers, numbers), max_size=12)


def as_stored(row: Row) -> Row:
    text, integer, number = row
    if isinstance(text, str):
        text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text, integer, float(number) if number is not None and math.isfinite(float(number)) else None


@given(tables, st.integers(0, 12))
def test_what_exists_comes_back_and_what_does_not_is_null(rows: list[Row], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder, spool_of(Path(folder), block(rows[:cut]), block(rows[cut:])) as spool:
        table = pq.read_table(spool.path(OBJECTS))
        assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == [*map(as_stored, rows)]
        assert spool.rows(OBJECTS) == len(rows)
        found = spool.numbers(OBJECTS, OBJECTS.columns[2])
        assert [None if math.isnan(n) else n for n in found.tolist()] == [as_stored(row)[2] for row in rows]


def test_what_is_not_finite_does_not_exist(tmp_path: Path) -> None:
    values = np.array([math.inf, -math.inf, math.nan, 1.0])
    with spool_of(tmp_path, Block(OBJECTS, ([math.inf, None, math.nan, "a"], [1, 2, 3, 4], values))) as spool:
        name, _, area = pq.read_table(spool.path(OBJECTS)).columns
    assert (name.to_pylist(), area.to_pylist()) == ([None, None, None, "a"], [None, None, None, 1.0])


def test_columns_have_the_types_that_other_programs_expect(tmp_path: Path) -> None:
    values = (["a", None], np.array([1, 2]), np.array([0.0036, math.nan]))
    with spool_of(tmp_path, Block(OBJECTS, values)) as spool:
        schema = pq.read_schema(spool.path(OBJECTS))
        frame = pd.read_parquet(spool.path(OBJECTS))
    assert list(zip(schema.names, schema.types, strict=True)) == [
        (NAME, pa.string()), (NUMBER, pa.int64()), (AREA, pa.float64())
    ]  # fmt: skip
    assert frame[AREA].tolist()[0] == 0.0036
    assert frame[AREA].isna().tolist() == [False, True]


def test_integers_with_gaps_are_exact(tmp_path: Path) -> None:
    big = 2**53 + 1
    with spool_of(tmp_path, Block(OBJECTS, (["", "", ""], [big, None, math.nan], [1, 2, 3]))) as spool:
        assert pq.read_table(spool.path(OBJECTS)).column(NUMBER).to_pylist() == [big, None, None]


def test_the_bytes_do_not_depend_on_how_rows_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 700)
    files = []
    for step in (3000, 500, 699):
        folder = tmp_path / str(step)
        folder.mkdir()
        values = np.random.default_rng(0).random(3000)
        parts = [values[n : n + step] for n in range(0, 3000, step)]
        with spool_of(folder, *(Block(OBJECTS, (["a"] * len(v), np.arange(len(v)) * 0, v)) for v in parts)) as spool:
            files.append(spool.path(OBJECTS).read_bytes())
            assert pq.ParquetFile(spool.path(OBJECTS)).num_row_groups == 5
    assert len(set(files)) == 1


def test_batches_are_short_and_in_order(tmp_path: Path) -> None:
    with spool_of(tmp_path, *many(2345)) as spool:
        found = list(spool.batches(OBJECTS, 100))
    assert max(map(len, found)) == 100
    assert [n for batch in found for n in batch.column(1).to_pylist()] == list(range(2345))


def test_a_table_without_rows_is_a_file_with_its_columns(tmp_path: Path) -> None:
    with spool_of(tmp_path) as spool:
        assert pq.read_table(spool.path(OBJECTS)).column_names == [NAME, NUMBER, AREA]
        assert list(spool.batches(OBJECTS)) == []


def test_a_block_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with spool_of(tmp_path) as spool:
        with pytest.raises(ValueError, match="columns"):
            spool.append(Block(OBJECTS, (["a"], [1, 2], [1.0])))
        with pytest.raises(ValueError, match="columns"):
            spool.append(Block(OBJECTS, (["a"], [1])))
        spool.path(OBJECTS)
        with pytest.raises(ValueError, match="read already"):
            spool.append(block([("a", 1, 1.0)]))


@pytest.mark.parametrize("rows", [0, 10, 1000])
def test_closing_in_the_middle_leaves_nothing_open(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 300)
    before = descriptors()
    with Spool(tmp_path, (OBJECTS,)) as spool:
        for each in many(rows):
            spool.append(each)
        assert descriptors() == before + (rows >= 300)
    assert descriptors() == before
    spool.close()
