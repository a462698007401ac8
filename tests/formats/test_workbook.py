"""The workbook as openpyxl 3.1.5 and pandas 2.3.3 read it, and as zipfile finds it."""

import io
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from openpyxl.utils.escape import unescape
from openpyxl.worksheet.worksheet import Worksheet
from spooled import AREA, NAME, NUMBER, OBJECTS, SERIES, Row, block, many, spool_of

from exportd.formats import zipping
from exportd.formats.spool import Spool
from exportd.formats.summary import SUMMARY, summarise
from exportd.formats.tabular import Block, Column, Kind, Table
from exportd.formats.workbook import workbook

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")', "http://example.org", "12"]
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.text("\x00\x1f\r\n\t &<>_x0041A\ufffe")
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def packed(spool: Spool, sheet_rows: int = 1_048_576) -> bytes:
    list(summarise(spool))
    return b"".join(workbook(spool, sheet_rows))


def opened(data: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data))


def book_of(rows: list[Row]) -> Any:
    with tempfile.TemporaryDirectory() as folder, spool_of(Path(folder), block(rows)) as spool:
        return opened(packed(spool))


def body(sheet: Worksheet) -> list[tuple[Any, ...]]:
    return list(sheet.iter_rows(min_row=2, values_only=True))


def test_sheets_are_tables_with_header_filter_and_frozen_pane(tmp_path: Path) -> None:
    with spool_of(tmp_path, *many(70)) as spool:
        book = opened(packed(spool))
    assert book.sheetnames == ["Polygon Metrics", "Summary"]
    sheet = book["Polygon Metrics"]
    assert [cell.value for cell in sheet[1]] == [NAME, NUMBER, AREA]
    assert all(cell.font.b for cell in sheet[1])
    assert not any(cell.font.b for cell in sheet[2])
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == sheet.dimensions == "A1:C71"
    assert all(10 <= sheet.column_dimensions[letter].width <= 61 for letter in "ABC")
    assert [[type(cell.value) for cell in row] for row in sheet["A2:C2"]] == [[str, int, float]]


def test_small_numbers_are_shown_as_they_are() -> None:
    sheet = book_of([("a", 1, 0.0036), ("b", 2, 1e-300), ("c", 3, None), ("d", 4, 1.7976931348623157e308)])
    cells = [row[2] for row in sheet["Polygon Metrics"]["A2:C5"]]
    assert [cell.value for cell in cells] == [0.0036, 1e-300, None, 1.7976931348623157e308]
    assert {cell.number_format for cell in cells} == {"General"}


def test_text_never_becomes_a_formula_a_link_or_a_number() -> None:
    cells = [row[0] for row in book_of([(text, 1, 1.0) for text in FORMULAS])["Polygon Metrics"]["A2:A10"]]
    assert [cell.value for cell in cells] == FORMULAS
    assert {cell.data_type for cell in cells} <= {"s", "inlineStr"}
    assert not any(cell.hyperlink for cell in cells)


@given(st.lists(st.tuples(texts, st.none() | st.integers(-(2**53), 2**53), numbers), max_size=8))
@example([("_x0041_x0042_", 1, -0.0), ("\r\n \t", 2, 5e-324)])
def test_any_text_and_number_is_read_back(rows: list[Row]) -> None:
    def readable(value: str | None) -> str | None:
        return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", value) if value else None

    rows = [*rows, ("end", 1, 1.0)]
    found = body(book_of(rows)["Polygon Metrics"])
    decoded = [unescape(row[0]) if row[0] else None for row in found]
    assert decoded == [readable(row[0]) for row in rows]  # type: ignore[arg-type]  # the first column is text
    assert [row[1:] for row in found] == [row[1:] for row in rows]


@pytest.mark.parametrize("text", ["x" * 40_000, "\N{GRINNING FACE}" * 20_000])
def test_a_text_that_is_too_long_for_a_cell_is_cut(text: str) -> None:
    (row,) = body(book_of([(text, 1, 1.0)])["Polygon Metrics"])
    assert text.startswith(row[0])
    assert 32_766 <= len(row[0].encode("utf-16-le")) // 2 <= 32_767


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 18, 19, 2500])
def test_rows_beyond_a_sheet_go_on_to_the_next(tmp_path: Path, rows: int) -> None:
    limit = 1001 if rows == 2500 else 10
    with spool_of(tmp_path, *many(rows, step=7)) as spool:
        book = opened(packed(spool, limit))
    sheets = [sheet for sheet in book if sheet.title != "Summary"]
    assert [sheet.title for sheet in sheets] == [
        "Polygon Metrics", *(f"Polygon Metrics ({n})" for n in range(2, len(sheets) + 1))
    ]  # fmt: skip
    assert len(sheets) == max(1, -(-rows // (limit - 1)))
    assert [row[1] for sheet in sheets for row in body(sheet)] == list(range(rows))
    assert {tuple(cell.value for cell in sheet[1]) for sheet in sheets} == {(NAME, NUMBER, AREA)}


def test_names_of_sheets_are_such_as_excel_takes(tmp_path: Path) -> None:
    names = ["a/b[c]:d*e?f\\g", "x" * 40, "X" * 40, "'", "summary"]
    tables = tuple(Table(name, f"t{n}", (Column("A", Kind.TEXT),)) for n, name in enumerate(names))
    with Spool(tmp_path, tables) as spool:
        found = opened(packed(spool)).sheetnames
    assert found == ["a_b_c__d_e_f_g", "x" * 31, "X" * 27 + " (2)", "Sheet", "summary"]


def test_missing_cells_are_blank(tmp_path: Path) -> None:
    inf, nan = float("inf"), float("nan")
    with spool_of(tmp_path, Block(OBJECTS, ([None, "a", ""], [None, 2, 3], [inf, nan, -inf]))) as spool:
        data = packed(spool)
    assert [row[1:] for row in body(opened(data)["Polygon Metrics"])] == [(None, None), (2, None), (3, None)]
    assert pd.read_excel(io.BytesIO(data), sheet_name=0)[AREA].isna().all()


def test_a_wound_series_has_its_chart_beside_it(tmp_path: Path) -> None:
    rows: list[Row] = [(1, "a.png", 40.0, None), (2, "b.png", None, "no size"), (3, "c.png", 20.5, None)]
    with spool_of(tmp_path, *many(3), block(rows, SERIES), tables=(OBJECTS, SERIES)) as spool:
        book = opened(packed(spool))
    assert book.sheetnames == ["Polygon Metrics", "Summary", "WoundTimeSeries"]
    (chart,) = book["WoundTimeSeries"]._charts
    (series,) = chart.series
    assert type(chart).__name__ == "LineChart"
    assert series.cat.numRef.f == "WoundTimeSeries!$A$2:$A$4"
    assert series.val.numRef.f == "WoundTimeSeries!$C$2:$C$4"
    assert not book["Polygon Metrics"]._charts


def test_nothing_tells_when_where_or_by_whom_it_was_made(tmp_path: Path) -> None:
    with spool_of(tmp_path, *many(3)) as spool:
        data = packed(spool)
    properties = opened(data).properties
    assert (properties.creator, properties.lastModifiedBy) == (None, None)
    assert properties.created.year == properties.modified.year == 2000
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert {entry.date_time for entry in book.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_every_part_is_whole_and_well_formed(tmp_path: Path) -> None:
    with spool_of(tmp_path, *many(5000)) as spool:
        data = packed(spool)
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        parts = {name: etree.fromstring(book.read(name)) for name in book.namelist()}
    rows = parts["xl/worksheets/sheet1.xml"].findall(".//{*}row")
    assert [int(row.get("r")) for row in rows] == list(range(1, 5002))
    assert {row[0].get("r") for row in rows} == {f"A{n}" for n in range(1, 5002)}


def test_chunks_are_short_and_frequent(tmp_path: Path) -> None:
    with spool_of(tmp_path, *many(20_000)) as spool:
        list(summarise(spool))
        chunks = list(workbook(spool))
    assert max(map(len, chunks)) <= zipping.PIECE
    assert len(chunks) > 20  # more than one for each batch


def test_the_summary_is_a_sheet_with_its_numbers(tmp_path: Path) -> None:
    with spool_of(tmp_path, block([("a", 1, 1.0), ("a", 2, 2.0), ("b", 1, 6.0)])) as spool:
        sheet = opened(packed(spool))["Summary"]
    assert [cell.value for cell in sheet[1]] == [column.header for column in SUMMARY.columns]
    ((table, measure, count, mean, deviation, *quantiles),) = body(sheet)
    assert (table, measure, count, mean) == ("Polygon Metrics", AREA, 3, 3)
    assert deviation == pytest.approx(7**0.5)
    assert quantiles == [2, 1.5, 4, 1, 6]
