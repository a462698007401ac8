"""Tables as CSV, JSON and Parquet, read back by csv, pandas 2.3.3, json and pyarrow 25.0.1; and what holds for all forms."""

import csv
import io
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spooled import AREA, NAME, NUMBER, OBJECTS, SERIES, Row, block, content, descriptors, many, spool_of

from exportd.core.options import METRICS_IDS, MetricsId
from exportd.formats import spool as module
from exportd.formats import tables as writers
from exportd.formats import zipping
from exportd.formats.metrics import written
from exportd.formats.spool import Spool
from exportd.formats.summary import SUMMARY, summarise

RUN = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")
"""What spreadsheets take for a formula."""

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(RUN)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
tables = st.lists(st.tuples(texts, st.none() | st.integers(-(2**63), 2**63 - 1), numbers), max_size=12)


def files(spool: Spool, *ids: MetricsId) -> dict[str, bytes]:
    return {member.path: content(member) for member in written(spool, ids)}


def one_file(rows: list[Row], which: MetricsId, path: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder, spool_of(Path(folder), block(rows)) as spool:
        return files(spool, which)[path]


def cell(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r")) else str(value)


@given(tables)
@example([('a "quoted", text\nwith\r\nlines', -5, 1e-300), ("", 0, 0.0036)])
def test_csv_holds_every_value_and_runs_none(rows: list[Row]) -> None:
    found = one_file(rows, "csv", "metrics/metrics.csv").decode()
    header, *lines = csv.reader(io.StringIO(found, newline=""))
    assert header == [NAME, NUMBER, AREA]
    assert [(name, number) for name, number, _ in lines] == [(cell(row[0]), cell(row[1])) for row in rows]
    assert [None if area == "" else float(area) for _, _, area in lines] == [row[2] for row in rows]


def test_csv_is_read_as_numbers_by_pandas() -> None:
    rows: list[Row] = [("a.png", 1, 0.0036), ("b.png", 2, None), ("c.png", 3, -1e300)]
    frame = pd.read_csv(io.BytesIO(one_file(rows, "csv", "metrics/metrics.csv")))
    assert frame.dtypes.astype(str).tolist()[1:] == ["int64", "float64"]
    assert frame[AREA].isna().tolist() == [False, True, False]
    assert frame[AREA].dropna().tolist() == [0.0036, -1e300]


@given(tables)
def test_json_holds_every_value(rows: list[Row]) -> None:
    document: dict[str, Any] = json.loads(one_file(rows, "json", "metrics/metrics.json"))
    objects, summary = document["tables"]
    assert (objects["name"], objects["file"], objects["count"]) == ("Polygon Metrics", "metrics", len(rows))
    assert objects["columns"][1] == {"name": NUMBER, "kind": "integer", "meaning": "1, 2, ..."}
    assert [(row[NAME], row[NUMBER], row[AREA]) for row in objects["rows"]] == rows
    assert summary["rows"][0]["Count"] == sum(row[2] is not None for row in rows)


@given(tables)
def test_parquet_holds_every_value(rows: list[Row]) -> None:
    table = pq.read_table(pa.BufferReader(one_file(rows, "parquet", "metrics/metrics.parquet")))
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == rows


def test_every_table_is_in_every_form_and_the_order_is_fixed(tmp_path: Path) -> None:
    series = block([(1, "a", 4.5, None)], SERIES)
    with spool_of(tmp_path, *many(3), series, tables=(OBJECTS, SERIES)) as spool:
        members = list(written(spool, ("parquet", "json", "csv", "excel")))
        assert [m.path.removeprefix("metrics/") for m in members] == [
            "metrics.xlsx",
            "metrics.csv", "summary.csv", "wound_time_series.csv",
            "metrics.json",
            "metrics.parquet", "summary.parquet", "wound_time_series.parquet",
        ]  # fmt: skip
        assert [m.path for m in members if m.path.endswith(("csv", "json"))] == [m.path for m in members if m.compress]
        assert all(content(member) for member in members)


@pytest.mark.parametrize("which", METRICS_IDS)
def test_the_summary_is_filled_in_by_whatever_is_read_first(tmp_path: Path, which: MetricsId) -> None:
    with spool_of(tmp_path, *many(10)) as spool:
        for member in reversed(list(written(spool, (which,)))):
            content(member)
        assert spool.rows(SUMMARY) == 1


@pytest.mark.parametrize("rows", [0, 1, 2500])
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, rows: int) -> None:
    found = []
    for step in (500, 77):
        folder = tmp_path / str(step)
        folder.mkdir()
        blocks = [block([(f"{n}", n, n / 3) for n in range(b, min(b + step, rows))]) for b in range(0, rows, step)]
        with spool_of(folder, *blocks) as spool:
            found.append(files(spool, *METRICS_IDS))
    assert found[0] == found[1]


def test_closing_at_any_chunk_leaves_nothing_open_and_nothing_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # whoever asks for a place of its own fails
    monkeypatch.setattr(module, "GROUP_ROWS", 1500)
    before, stop, ended = descriptors(), 0, False
    while not ended:
        folder = tmp_path / str(stop)
        folder.mkdir()
        with spool_of(folder, *many(3200)) as spool:
            ended = not stops_at(spool, stop)
        assert descriptors() == before
        assert {path.name for path in folder.iterdir()} <= {"metrics.parquet", "summary.parquet"}
        stop += 1
    assert stop > 30


def stops_at(spool: Spool, stop: int) -> bool:
    """Whether there were so many chunks; the member of that one is closed, the others are never read."""
    seen = 0
    for member in written(spool, METRICS_IDS):
        for _ in member.chunks:
            if seen == stop:
                member.chunks.close()  # type: ignore[attr-defined]  # a generator, as the ZIP expects it
                return True
            seen += 1
    return False


def peak(folder: Path, rows: int, which: MetricsId) -> tuple[int, int]:
    """Bytes that Python, numpy and Arrow hold at most, until the summary is there, and from then on."""
    folder.mkdir()
    most = 0
    tracemalloc.start()
    begin = pa.total_allocated_bytes()
    with spool_of(folder) as spool:
        for each in many(rows, step=5000):
            spool.append(each)
        list(summarise(spool))
        summarised = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        for member in written(spool, (which,)):
            for _ in member.chunks:
                most = max(most, tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - begin)
    most = max(most, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    return summarised, most


@pytest.mark.parametrize("which", METRICS_IDS)
def test_memory_does_not_grow_with_the_rows_but_for_a_column_while_it_is_summarised(
    tmp_path: Path, which: MetricsId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 5_000)
    monkeypatch.setattr(writers, "READ_BYTES", 100_000)
    monkeypatch.setattr(zipping, "ENTRY_BUFFER", 100_000)
    large, small = 120_000, 20_000
    (summarised, writing), (little, less) = (peak(tmp_path / f"{rows}", rows, which) for rows in (large, small))
    assert summarised - little < 3 * 8 * (large - small)
    assert writing < 1.2 * less + 100_000
