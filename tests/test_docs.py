"""The README is true, or this breaks."""

import runpy
from pathlib import Path

import pytest

from exportd.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_generated_parts_are_what_the_code_says() -> None:
    generated = runpy.run_path(str(ROOT / "scripts/readme"))["generated"]
    assert generated(README) == README, "run: .venv/bin/python scripts/readme"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_readme(name: str) -> None:
    assert f"`{PREFIX}{name.upper()}`" in README


def test_every_script_stands_in_the_readme() -> None:
    for script in (ROOT / "scripts").iterdir():
        if script.is_file():
            assert f"scripts/{script.name}" in README, script.name
