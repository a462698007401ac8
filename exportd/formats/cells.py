"""Batches of rows to text, for sheets and CSV: a column at a time in Arrow's kernels, as there are millions of cells.

Numbers are the shortest decimals that give the same number again, not rounded to places.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
from xlsxwriter.utility import xl_col_to_name

CELL_CHARACTERS = 32_767
"""What Excel takes in a cell, in units of UTF-16."""

_FORMULA = r"^'*[=+\-@\t\r]"  # marked ones too, or a name that looks marked could not be told from one that is
"""What a spreadsheet takes for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection."""

_NOT_IN_XML = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"
"""What XML 1.0 has no way to write; lone surrogates are gone already, as Arrow's text is UTF-8."""

_CODE = r"_(x[0-9A-Fa-f]{4})"
"""What Excel reads as the code of a character, before the `_` that ends it and may begin another."""


def csv_rows(batch: pa.RecordBatch) -> bytes:
    """Lines by RFC 4180. Text that a spreadsheet would run has a `'` in front; what does not exist is empty."""
    lines = _joined([_csv_column(column) for column in batch.columns], ",")
    return _bytes(_joined([lines, "\r\n"]))


def _csv_column(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return _or_nothing(pc.cast(column, pa.string()))
    safe = _where(column, _FORMULA, lambda found: _joined(["'", found]))
    quoted = _where(safe, '[",\r\n]', lambda found: _joined(['"', pc.replace_substring(found, '"', '""'), '"']))
    return _or_nothing(quoted)


def sheet_rows(batch: pa.RecordBatch, first: int) -> bytes:
    """`row` elements of SpreadsheetML, the first one numbered `first`, from 1. Text is in the cell itself and has no
    way to become a formula; what does not exist is no cell."""
    numbers = pc.cast(pa.array(range(first, first + len(batch)), pa.int64()), pa.string())
    cells = [_sheet_column(xl_col_to_name(place), numbers, column) for place, column in enumerate(batch.columns)]
    return _bytes(_joined(['<row r="', numbers, '">', *cells, "</row>"]))


def _sheet_column(name: str, numbers: pa.Array, column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return _or_nothing(_joined([f'<c r="{name}', numbers, '"><v>', pc.cast(column, pa.string()), "</v></c>"]))
    start, end = '" t="inlineStr"><is><t xml:space="preserve">', "</t></is></c>"
    return _or_nothing(_joined([f'<c r="{name}', numbers, start, _xml(_cut(column)), end]))


def _xml(texts: pa.Array) -> pa.Array:
    texts = pc.replace_substring_regex(texts, _NOT_IN_XML, "\N{REPLACEMENT CHARACTER}")
    texts = pc.replace_substring_regex(texts, _CODE, r"_x005F_\1")
    for plain, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
        texts = pc.replace_substring(texts, plain, written)
    return texts


def _cut(texts: pa.Array) -> pa.Array:
    # Half as many characters fit whatever they are.
    if (pc.max(pc.utf8_length(texts)).as_py() or 0) <= CELL_CHARACTERS // 2:
        return texts
    return pa.array([None if text is None else _fitting(text) for text in texts.to_pylist()], pa.string())


def _fitting(text: str) -> str:
    return text.encode("utf-16-le")[: 2 * CELL_CHARACTERS].decode("utf-16-le", "ignore")


# --- kernels ------------------------------------------------------------------------------------------------------------


def _joined(parts: list[pa.Array | str], between: str = "") -> pa.Array:
    """Row by row; null where a part is."""
    return pc.binary_join_element_wise(*parts, between)


def _where(texts: pa.Array, pattern: str, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    found = pc.match_substring_regex(texts, pattern)
    return pc.if_else(found, change(texts), texts) if pc.any(found).as_py() else texts


def _or_nothing(texts: pa.Array) -> pa.Array:
    return pc.coalesce(texts, "")


def _bytes(texts: pa.Array) -> bytes:
    return "".join(texts.to_pylist()).encode()
