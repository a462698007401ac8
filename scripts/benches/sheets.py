"""`sheets.py ours|xlsxwriter TARGET ROWS`: writes a table of 20 columns as a workbook, in a process of its own, and prints
what that took as JSON: seconds, CPU seconds, and the most memory beyond what was there with everything loaded."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xlsxwriter

from exportd.formats.spool import Spool
from exportd.formats.tabular import Block, Column, Kind, Table, Values
from exportd.formats.workbook import workbook

COLUMNS = 20
TEXTS = 2
"""Of them; the others are numbers, as in the tables of metrics."""
BLOCK = 400
"""Rows that come at once, as they do from an image."""


def table() -> Table:
    kinds = [Kind.TEXT] * TEXTS + [Kind.NUMBER] * (COLUMNS - TEXTS)
    return Table("Polygons", "metrics", tuple(Column(f"Column {n}", kind) for n, kind in enumerate(kinds)))


def blocks(rows: int) -> Iterator[tuple[Values, ...]]:
    rng = np.random.default_rng(1)
    for begin in range(0, rows, BLOCK):
        count = min(BLOCK, rows - begin)
        texts = tuple([f"plate_{(begin + n) // 30:05}.png" for n in range(count)] for _ in range(TEXTS))
        yield texts + tuple(rng.uniform(0, 1e4, (COLUMNS - TEXTS, count)))


def ours(target: Path, rows: int) -> None:
    """As an export does it: rows onto the disk, from there into the workbook."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, Spool(Path(folder), [table()]) as spool:
        for values in blocks(rows):
            spool.append(Block(spool.tables[0], values))
        with target.open("wb") as file:
            for chunk in workbook(spool):
                file.write(chunk)


def alone(target: Path, rows: int) -> None:
    """XlsxWriter as its documentation has it for large files."""
    number = 1
    with xlsxwriter.Workbook(target, {"constant_memory": True, "tmpdir": str(target.parent)}) as book:
        page = book.add_worksheet("Polygons")
        for place, column in enumerate(table().columns):
            page.write_string(0, place, column.header)
        for values in blocks(rows):
            columns = [value if isinstance(value, list) else np.asarray(value).tolist() for value in values]
            for row in zip(*columns, strict=True):
                for place, cell in enumerate(row):
                    (page.write_string if place < TEXTS else page.write_number)(number, place, cell)
                number += 1


WAYS: dict[str, Callable[[Path, int], None]] = {"ours": ours, "xlsxwriter": alone}


def main(way: str, target: Path, rows: int) -> None:
    WAYS[way](target, BLOCK)  # loads what is loaded when it is needed
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began, used = _memory("VmRSS"), time.perf_counter(), time.process_time()
    WAYS[way](target, rows)
    told = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}
    print(json.dumps(told | {"memory": _memory("VmHWM") - before}))


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) << 10


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
