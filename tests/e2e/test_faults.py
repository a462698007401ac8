"""The short crash and fault sweeps: the same points every time, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

FAULTS = Path(__file__).resolve().parents[2] / "scripts/faults"
PATIENCE = 300
"""Seconds after which the sweep is taken to hang."""


@pytest.mark.parametrize(("sweep", "least"), [("crashes", 60), ("failures", 40), ("kills", 3), ("machine", 10)])
def test_no_promise_is_broken_by_what_goes_wrong(sweep: str, least: int, tmp_path: Path) -> None:
    command = [sys.executable, str(FAULTS), "--short", "--only", sweep, "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    total = re.search(r"^(\d+) points, 0 violations$", run.stdout, re.MULTILINE)
    assert total is not None
    assert int(total[1]) >= least
