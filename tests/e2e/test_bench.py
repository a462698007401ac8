"""`scripts/bench --quick` still works: every row takes its samples and judges its goals. Never how fast anything is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

BENCH = Path(__file__).resolve().parents[2] / "scripts/bench"
PATIENCE = 300
"""Seconds after which the bench is taken to hang."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the JSON file tells of a quick run; the folder is empty again."""
    folder, target = tmp_path_factory.mktemp("bench"), tmp_path_factory.mktemp("told") / "bench.json"
    command = [sys.executable, str(BENCH), "--quick", "--json", str(target), "--folder", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    assert list(folder.iterdir()) == []
    document: dict[str, Any] = json.loads(target.read_text())
    return document


def test_every_row_is_measured(told: dict[str, Any]) -> None:
    assert told["quick"] is True
    assert {name: row["broken"] for name, row in told["rows"].items() if row["broken"]} == {}
    assert {name for name, row in told["rows"].items() if not row["samples"]} == set()
    assert len(told["rows"]) >= 10


def test_every_side_has_values_and_a_unit(told: dict[str, Any]) -> None:
    for row in told["rows"].values():
        for what, side in row["samples"].items():
            assert side["unit"], what
            assert side["n"] >= len(side["values"]) > 0, what
            assert side["low"] <= side["median"] <= side["high"], what
            assert all(math.isfinite(value) and value >= 0 for value in side["values"]), what


def test_every_goal_is_judged_or_the_row_says_why_not(told: dict[str, Any]) -> None:
    for name, row in told["rows"].items():
        assert row["goals"], name
        for goal in row["goals"]:
            assert math.isfinite(goal["bound"]), goal
            assert goal["sign"] in (">=", "<="), goal
            if goal["value"] is None:
                assert goal["met"] is None, goal
                assert row["notes"], (name, goal)
            else:
                reached = goal["value"] >= goal["bound"] if goal["sign"] == ">=" else goal["value"] <= goal["bound"]
                assert goal["met"] is reached, goal
                assert (goal["missedBy"] == 0) is reached, goal
