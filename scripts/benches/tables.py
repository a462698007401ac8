"""A large table as a workbook: ours against XlsxWriter alone, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benches.figures import Goal, Measured, Row, Sample, of
from benches.ground import SCRIPTS, Ground

SIDES = {"exportd": "ours", "XlsxWriter, constant_memory": "xlsxwriter"}
PATIENCE = 300.0


def measure(ground: Ground) -> Measured:
    rows = ground.size(100_000, 1_000)
    with ground.scratch() as scratch:
        for number in range(ground.rounds()):
            for name, way in SIDES.items() if number % 2 else reversed(SIDES.items()):
                told = _write(way, scratch / "table.xlsx", rows)
                yield Sample(name, told["seconds"])
                yield Sample(f"{name}, CPU", told["cpu"])
                yield Sample(f"{name}, memory", told["memory"] / 1e6, "MB")


def _write(way: str, target: Path, rows: int) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPTS / "benches/sheets.py"), way, str(target), str(rows)]
    run = subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    told: dict[str, Any] = json.loads(run.stdout)
    return told


ROWS = (
    Row(
        "tables",
        "100,000 rows of 20 columns to xlsx",
        (
            Goal("seconds", of("exportd"), at_most=4),
            Goal("MB of memory, peak", of("exportd, memory"), at_most=60),
        ),
        measure,
    ),
)
