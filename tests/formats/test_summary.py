"""The summary against pandas 2.3.3."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spooled import AREA, OBJECTS, SERIES, block, many, spool_of

from exportd.formats.spool import Spool
from exportd.formats.summary import SUMMARY, statistics, summarise, with_summary


def rows_of(spool: Spool) -> list[dict[str, Any]]:
    list(summarise(spool))
    return [row for batch in spool.batches(SUMMARY) for row in batch.to_pylist()]


def test_each_measure_has_its_row(tmp_path: Path) -> None:
    with spool_of(tmp_path, *many(999), block([("x", 1, None)])) as spool:
        expected = pd.Series(spool.numbers(OBJECTS, OBJECTS.columns[2])).describe()
        (row,) = rows_of(spool)
        assert (row["Table"], row["Measure"], row["Count"]) == ("Polygon Metrics", AREA, 999)
        names = ["Mean", "SD (sample)", "Minimum", "Q1", "Median", "Q3", "Maximum"]
        assert [row[name] for name in names] == pytest.approx(expected.iloc[1:].tolist(), rel=1e-12)
        assert list(summarise(spool)) == []  # once


def test_what_does_not_exist_is_empty(tmp_path: Path) -> None:
    with spool_of(tmp_path, block([("x", 1, None), ("x", 2, math.nan)])) as spool:
        (row,) = rows_of(spool)
    assert row["Count"] == 0
    assert set(list(row.values())[3:]) == {None}


def test_one_value_has_no_deviation() -> None:
    assert statistics(np.array([2.5, math.nan])) == (1, 2.5, None, 2.5, 2.5, 2.5, 2.5, 2.5)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_order_holds_for_any_numbers(values: list[float]) -> None:
    count, _, _, median, first, third, low, high = statistics(np.array(values))
    assert count == len(values)
    assert (low, high) == (min(values), max(values))
    if max(map(abs, values)) < 1e300:  # where the distance of two is finite
        assert low <= first <= median <= third <= high  # type: ignore[operator]  # numbers, as there are values


def test_it_stands_behind_the_last_table_that_it_tells_of() -> None:
    assert with_summary((OBJECTS, SERIES)) == (OBJECTS, SUMMARY, SERIES)
    assert with_summary((SERIES,)) == (SERIES,)
