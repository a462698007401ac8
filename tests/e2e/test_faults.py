"""The short crash and fault sweeps: the same points every time (but for the moments of the kills), each in a process of its
own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

FAULTS = Path(__file__).resolve().parents[2] / "scripts/faults"
PATIENCE = 300
"""Seconds after which the sweeps are taken to hang."""

LEAST = {"crash sweep": 30, "kill -9 under load": 2, "fault sweep": 20, "damaged journal": 5, "clock set back": 1}
"""Points that have to be struck: a sweep that strikes nothing finds nothing."""


def test_no_promise_is_broken_by_what_dies_or_fails(tmp_path: Path) -> None:
    command = [sys.executable, str(FAULTS), "--short", "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = re.findall(r"^(.+): \d+ points, (\d+) of them struck, 0 violations", run.stdout, re.MULTILINE)
    struck = {name: int(count) for name, count in lines}
    assert {name: struck.get(name, 0) for name, least in LEAST.items() if struck.get(name, 0) < least} == {}
