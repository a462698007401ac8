"""The README is true, or this breaks."""

import re
import runpy
from pathlib import Path

import pytest

from exportd import tokens
from exportd.errors import MAX_PROBLEMS
from exportd.settings import PREFIX, Settings
from exportd.store.listening import MAX_BYTES, MAX_PIXELS
from exportd.store.pictures import MAX_WEBP
from exportd.web import app, feed, protocol, server

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


SECURITY = README[README.index("\n## Security\n") :].partition("\n## How it is built")[0]


def test_every_defence_names_the_tests_that_hold_it() -> None:
    rows = [row for row in SECURITY.splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 8
    for row in rows:
        named = re.findall(r"`(tests/[^`]+\.py)`", row)
        assert named, row
        assert all((ROOT / path).is_file() for path in named), row


def test_limits_in_the_chapter_on_security_are_those_of_the_code() -> None:
    assert MAX_PROBLEMS == 100
    assert "a hundred faults" in SECURITY
    for number, sentence in [
        (MAX_PIXELS // 1_000_000, "{} million pixels"),
        (MAX_BYTES >> 30, "{} GiB at most"),
        (MAX_WEBP >> 20, "{} million for WebP"),
        (server.KEEP_ALIVE, "{:.0f} s for a head"),
        (app.BODY_SECONDS, "{} s for a body"),
        (protocol.MAX_HEAD >> 10, "{} KiB of head"),
        (server.USER_TIMEOUT / 1000, "takes nothing for {:.0f} s"),
        (feed.MAX_MESSAGE >> 10, "messages of {} KiB"),
        (feed.MAX_SUBSCRIPTIONS, "{:,} subscriptions"),
        (server.MAX_CONNECTIONS, "at most {:,}"),
        (tokens.DOWNLOAD_SECONDS // 60, "last {} minutes"),
    ]:
        assert sentence.format(number) in SECURITY, sentence


def test_the_security_linter_is_on_and_every_exception_has_its_reason() -> None:
    assert '"S", ' in (ROOT / "pyproject.toml").read_text()
    for path in [*(ROOT / "exportd").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]:
        for line in path.read_text().splitlines():
            rules, dash, _ = line.partition("# noqa: ")[2].partition(" - ")
            assert dash or not re.search(r"\bS\d{3}\b", rules), f"{path.name}: {line}"
