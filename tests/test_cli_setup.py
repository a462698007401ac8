"""`init` and `doctor`: from nothing to settings, and what is not well with its mending."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import World

from exportd.cli import checkup, cli
from exportd.core.job import Job, Transition
from exportd.core.options import ExportOptions
from exportd.core.states import Reason
from exportd.settings import Reserve, load
from exportd.store.artifacts import DataLock
from exportd.store.journal import Journal, SaveJob


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("EXPORTD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EXPORTD_DATA", str(tmp_path / "data"))


def run(*arguments: object, answers: str | None = None, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], input=answers, env=env)


# --- init ----------------------------------------------------------------------------------------------------------


def test_three_questions_make_the_settings(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    done = run("init", answers=f"{folder}\n\n127.0.0.1:9000\n")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{folder / 'exportd.toml'}\n"
    assert [number for number in "123" if f"{number}. " in done.stderr] == ["1", "2", "3"]
    assert f"EXPORTD_DATA={folder}" in done.stderr, "it is not where exportd looks by itself"
    loaded = load({"data": folder})
    assert (loaded.settings.host, loaded.settings.port, loaded.settings.jwt_secret) == ("127.0.0.1", 9000, None)
    assert loaded.origins["port"] == "file"


def test_the_defaults_are_taken_unasked(tmp_path: Path) -> None:
    done = run("init", "--yes")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'data' / 'exportd.toml'}\n")
    assert "EXPORTD_DATA" not in done.stderr
    assert load().settings.port == 8765


def test_a_question_that_nobody_answers_leaves_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    done = run("init", answers="")
    assert done.exit_code == 1
    assert "Nothing is written. Without questions: `exportd init --yes`" in done.stderr
    assert not (tmp_path / "data" / "exportd.toml").exists()


def test_whoever_listens_to_others_gets_a_secret_that_only_the_file_knows(tmp_path: Path) -> None:
    done = run("init", "--yes", "--listen", "192.0.2.1:80", "--json")
    answer = json.loads(done.stdout)
    assert answer["settings"] == {"host": "192.0.2.1", "port": 80, "jwt_secret": "***"}
    secret = load().settings.jwt_secret
    assert secret is not None
    assert len(secret.get_secret_value()) >= checkup.MIN_SECRET
    assert secret.get_secret_value() not in done.output
    assert stat.S_IMODE(Path(answer["file"]).stat().st_mode) == 0o600


def test_a_database_comes_with_its_images(tmp_path: Path) -> None:
    url = 'postgresql://me:p"w@db/x'
    done = run("init", answers=f"{tmp_path / 'data'}\n{url}\n/srv/uploads\n\n")
    assert done.exit_code == 0, done.stderr
    settings = load().settings
    assert (settings.database_url, settings.uploads) == (url, Path("/srv/uploads"))


def test_settings_that_are_there_are_not_replaced_unasked(tmp_path: Path) -> None:
    assert run("init", "--yes").exit_code == 0
    before = (tmp_path / "data/exportd.toml").read_bytes()
    refused = run("init", "--yes", "--listen", "127.0.0.1:1")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert (tmp_path / "data/exportd.toml").read_bytes() == before
    assert run("init", "--yes", "--listen", "127.0.0.1:1", "--force").exit_code == 0
    assert load().settings.port == 1


@pytest.mark.parametrize("listen", ["nowhere:", ":8765", "127.0.0.1:http", "127.0.0.1:99999"])
def test_a_place_that_is_none_writes_nothing(tmp_path: Path, listen: str) -> None:
    done = run("init", "--yes", "--listen", listen)
    assert (done.exit_code, done.stdout) == (2, "")
    assert not list((tmp_path / "data").glob("*"))


# --- doctor --------------------------------------------------------------------------------------------------------


def findings(*options: object, env: dict[str, str] | None = None) -> list[dict[str, Any]]:
    return list(json.loads(run("doctor", *options, "--json", env=env).stdout))


def levels(found: list[dict[str, Any]]) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    for finding in found:
        told.setdefault(finding["check"], set()).add(finding["level"])
    return told


def test_what_is_well_is_told_check_by_check(world: World) -> None:
    with DataLock(world.settings.data):
        done = run("doctor", "--data", world.settings.data)
    assert done.exit_code == 0, done.stdout
    for check in ("settings", "data", "space", "catalogue", "images", "clock"):
        assert f"ok      {check}" in done.stdout
    assert "a daemon serves it" in done.stdout
    assert "All 3 images" in done.stdout


def test_every_finding_that_is_not_well_says_how_to_mend_it(tmp_path: Path) -> None:
    found = findings(env={"EXPORTD_HOST": "192.0.2.1", "EXPORTD_DATABASE_URL": "postgresql://127.0.0.1:1/x"})
    assert {finding["level"] for finding in found} >= {"ok", "warning", "fault"}
    assert all(finding["mend"] for finding in found if finding["level"] != "ok")
    assert run("doctor", env={"EXPORTD_HOST": "192.0.2.1"}).exit_code == 1


def test_before_the_first_start_there_are_warnings_and_no_faults(tmp_path: Path) -> None:
    assert "fault" not in set().union(*levels(findings()).values())
    assert run("doctor").exit_code == 0
    assert not (tmp_path / "data").exists(), "a doctor changes nothing"


def test_images_that_are_missing_or_broken_are_named(world: World) -> None:
    uploads = world.settings.uploads_directory
    first, second, _ = sorted(path for path in uploads.rglob("*") if path.is_file())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    found = [f for f in findings("--data", world.settings.data) if f["check"] == "images"]
    assert [(f["level"], f["found"].rpartition(": ")[2]) for f in found] == [
        ("fault", "the file is missing."),
        ("warning", "the file looks truncated."),
    ]
    assert levels(findings("--data", world.settings.data, "--no-images")).get("images") is None


def test_many_broken_images_are_counted(world_of: Any) -> None:
    world = world_of(checkup.NAMED + 3)
    for path in world.settings.uploads_directory.rglob("*.png"):
        path.write_bytes(b"")
    found = [f for f in findings("--data", world.settings.data) if f["check"] == "images"]
    assert len(found) == checkup.NAMED + 1
    assert found[-1]["found"].startswith("3 more of 13")


def test_settings_that_cannot_be_read_are_a_finding(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/exportd.toml").write_text("port = 'x'\nnonsense = 1\n")
    (found,) = findings()
    assert (found["check"], found["level"]) == ("settings", "fault")
    assert "nonsense" in found["found"]


def test_a_short_secret_and_one_that_others_can_read_are_warned_of(world: World) -> None:
    file = world.settings.data / "exportd.toml"
    file.write_text('jwt_secret = "short"\n')
    file.chmod(0o644)
    told = [f["found"] for f in findings("--data", world.settings.data) if f["level"] == "warning"]
    assert any("can be guessed" in text for text in told)
    assert any("can be read by others" in text for text in told)
    assert "short" not in " ".join(told)


def test_a_secret_that_is_none_is_a_fault(world: World) -> None:
    (world.settings.data / "secret").write_text("")
    found = [f for f in checkup.data_directory(world.settings) if f.level == checkup.FAULT]
    assert [f.mend for f in found] == ["remove the file, and a new one is made"]


def test_a_full_disk_and_a_damaged_journal_are_faults(world: World) -> None:
    (world.settings.data / "journal.db").write_bytes(b"this is no database" * 100)
    env = {"EXPORTD_DISK_RESERVE": str(1 << 60)}
    told = levels(findings("--data", world.settings.data, env=env))
    assert (told["space"], told["data"] & {"fault"}) == ({"fault"}, {"fault"})


def test_a_catalogue_that_cannot_be_read_is_a_fault(world: World) -> None:
    with closing(sqlite3.connect(world.settings.data / "catalogue.db")) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    (world.settings.data / "catalogue.db").write_bytes(b"this is no database" * 100)
    assert levels(findings("--data", world.settings.data))["catalogue"] == {"fault"}


def test_a_journal_from_the_future_means_a_clock_that_is_wrong(world: World) -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    job = Job("j", world.project_id, "T", world.alice, ExportOptions(include_documentation=True), ahead)
    with closing(Journal(world.settings.data)) as journal:
        journal.commit([SaveJob(job, Transition("j", None, "pending", Reason.SUBMITTED, "a", ahead))])
    (found,) = [f for f in findings("--data", world.settings.data) if f["check"] == "clock"]
    assert found["level"] == "warning"
    assert "24.0 h in the future" in found["found"]


def test_little_room_is_a_warning_before_it_is_a_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = world.settings.model_copy(update={"disk_reserve": Reserve(0, None)})
    monkeypatch.setattr(checkup, "LITTLE", 1 << 60)
    assert [finding.level for finding in checkup.space(settings)] == ["warning"]
