"""A workbook as Excel reads it (SpreadsheetML, ECMA-376 part 1, in a ZIP), streamed: no row waits in memory or on disk.

XlsxWriter makes the workbook as it is before its rows: sheets with their headers, styles, chart, properties. The rows are
put into its sheets on the way. XlsxWriter itself takes 9 s for 100,000 rows of 20 cells, and then closes the file in one
call that no cancel can reach.

Times are fixed and no author is named: the same rows give the same bytes.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import xlsxwriter
from xlsxwriter.utility import xl_rowcol_to_cell

from exportd.formats.cells import sheet_rows
from exportd.formats.member import Member
from exportd.formats.spool import Spool
from exportd.formats.tabular import Kind, Table
from exportd.formats.wound_chart import AREA, ORDER, TIME_SERIES
from exportd.formats.zipping import packed

SHEET_ROWS = 1_048_576
"""What a sheet of Excel holds, the header among them."""

NAME_CHARACTERS = 31
"""Of a sheet's name."""

CELL_BYTES = 150
"""More XML than a cell has on the average of a large sheet, where numbers have 45."""

LEVEL = 2
"""Of zlib's 1 to 9: more takes longer, to save a tenth."""

NUMBER_WIDTH, WIDEST = 14, 60
"""Of a column, in characters: 12345.678901 can be read; a longer text is cut on the screen only."""

FILTER_WIDTH = 4
"""Of the button in the header, in characters."""

_CREATED = datetime(2000, 1, 1)  # noqa: DTZ001  # the form has no time zone
_OPTIONS = {"in_memory": True, "strings_to_numbers": False, "strings_to_formulas": False, "strings_to_urls": False}
_ROWS_END = b"</sheetData>"
_DIMENSION = re.compile(rb'<dimension ref="[^"]*"/>')


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet, and the part of a table's rows that is on it."""

    name: str
    table: Table
    rows: int
    """Without the header."""
    first: bool
    """Whether the table begins here."""


def sheets_of(spool: Spool, sheet_rows: int = SHEET_ROWS) -> Iterator[Sheet]:
    """In the order of the tables; what is too long for a sheet goes on to `Name (2)`, `Name (3)`, ..."""
    taken: set[str] = set()
    for table in spool.tables:
        left, first = spool.rows(table), True
        while left > 0 or first:
            rows = min(left, sheet_rows - 1)
            yield Sheet(_name(table.name, taken), table, rows, first)
            left, first = left - rows, False


def _name(wanted: str, taken: set[str]) -> str:
    """A name that Excel takes and that no other sheet has, whatever the case."""
    plain = re.sub(r"[\[\]:*?/\\\x00-\x1f]", "_", wanted).strip("' ") or "Sheet"
    number, name = 1, plain[:NAME_CHARACTERS]
    while name.casefold() in taken:
        number += 1
        suffix = f" ({number})"
        name = plain[: NAME_CHARACTERS - len(suffix)] + suffix
    taken.add(name.casefold())
    return name


def workbook(spool: Spool, sheet_rows: int = SHEET_ROWS) -> Iterator[bytes]:
    """The file, from all tables of the spool. An empty chunk is a place to look for a cancel."""
    sheets = list(sheets_of(spool, sheet_rows))
    by_path = {f"xl/worksheets/sheet{number}.xml": sheet for number, sheet in enumerate(sheets, start=1)}
    with closing(_Rows(spool)) as rows:
        yield from packed(_parts(_frame(spool, sheets), by_path, rows), LEVEL)


def _parts(frame: bytes, by_path: dict[str, Sheet], rows: _Rows) -> Iterator[Member]:
    with zipfile.ZipFile(io.BytesIO(frame)) as book:
        for path in book.namelist():
            content = book.read(path)
            if sheet := by_path.get(path):
                expected = sheet.rows * len(sheet.table.columns) * CELL_BYTES
                yield Member(path, _filled(content, sheet, rows), size=expected)
            else:
                yield Member(path, [content], size=len(content))


def _filled(content: bytes, sheet: Sheet, rows: _Rows) -> Iterator[bytes]:
    """The sheet's XML with its rows behind the header."""
    extent = b'<dimension ref="A1:%s"/>' % xl_rowcol_to_cell(sheet.rows, len(sheet.table.columns) - 1).encode()
    head, end, tail = _DIMENSION.sub(extent, content).partition(_ROWS_END)
    yield head
    number = 2
    for batch in rows.of(sheet):
        yield sheet_rows(batch, number)
        number += len(batch)
    yield end + tail


class _Rows:
    """The batches of one table after the other, cut where a sheet ends."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._rest: pa.RecordBatch | None = None

    def of(self, sheet: Sheet) -> Iterator[pa.RecordBatch]:
        """The rows of this sheet; sheets come in their order."""
        if sheet.first:
            self.close()
            self._batches = self._spool.batches(sheet.table)
        left = sheet.rows
        while left > 0:
            batch = self._rest if self._rest is not None else next(self._batches)
            self._rest = batch[left:] if len(batch) > left else None
            yield batch[:left]
            left -= min(left, len(batch))

    def close(self) -> None:
        close = getattr(self._batches, "close", None)
        if callable(close):
            close()


# --- what is around the rows --------------------------------------------------------------------------------------------


def _frame(spool: Spool, sheets: list[Sheet]) -> bytes:
    """The workbook with headers only."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, _OPTIONS) as book:
        book.set_properties({"created": _CREATED})
        bold = book.add_format({"bold": True})
        for sheet in sheets:
            page = book.add_worksheet(sheet.name)
            page.freeze_panes(1, 0)
            page.autofilter(0, 0, sheet.rows, len(sheet.table.columns) - 1)
            for place, (column, width) in enumerate(zip(sheet.table.columns, _widths(spool, sheet.table), strict=True)):
                page.set_column(place, place, width)
                page.write_string(0, place, column.header, bold)
            if sheet.table.file == TIME_SERIES and sheet.rows:
                _add_chart(book, page, sheet)
    return file.getvalue()


def _widths(spool: Spool, table: Table) -> list[int]:
    """In characters, by the header and the first rows."""
    with closing(spool.batches(table)) as batches:
        batch = next(batches, None)
    widths = []
    for place, column in enumerate(table.columns):
        width = NUMBER_WIDTH
        if column.kind is Kind.TEXT:
            width = (pc.max(pc.utf8_length(batch.column(place))).as_py() or 0) + 1 if batch is not None else 0
        widths.append(min(max(width, len(column.header) + FILTER_WIDTH), WIDEST))
    return widths


def _add_chart(book: xlsxwriter.Workbook, page: xlsxwriter.worksheet.Worksheet, sheet: Sheet) -> None:
    """Beside the table: wound area against the order of the images, gaps where it is missing."""
    places = {column.header: place for place, column in enumerate(sheet.table.columns)}
    if AREA not in places or ORDER not in places:
        return
    chart = book.add_chart({"type": "line"})
    chart.add_series(
        {
            "name": AREA,
            "categories": [sheet.name, 1, places[ORDER], sheet.rows, places[ORDER]],
            "values": [sheet.name, 1, places[AREA], sheet.rows, places[AREA]],
            "marker": {"type": "circle", "size": 5},
        }
    )
    chart.set_title({"name": AREA})
    chart.set_x_axis({"name": ORDER})
    chart.set_y_axis({"name": AREA, "min": 0})
    chart.set_legend({"none": True})
    chart.show_blanks_as("gap")
    chart.set_size({"width": 960, "height": 480})
    page.insert_chart(1, len(sheet.table.columns) + 1, chart)
