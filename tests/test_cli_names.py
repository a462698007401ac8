"""Projects and jobs by a piece of their name, completion of them, and what an error says to do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from exportd import errors
from exportd.cli import cli, names
from exportd.cli.failures import NEXT, Failure, told
from exportd.cli.names import local_job, local_project, pick
from exportd.cli.where import Where
from exportd.core.job import Job, Transition
from exportd.core.options import ExportOptions
from exportd.core.states import Reason
from exportd.core.users import User
from exportd.errors import ExportdError, JobConflict, ServerRefused
from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.journal import Journal, SaveJob

NUCLEI = "11aa0000-0000-4000-8000-000000000001"
NUCLEOLI = "11bb0000-0000-4000-8000-000000000002"
WOUNDS = "22cc0000-0000-4000-8000-000000000003"
PROJECTS = [(NUCLEI, "Nuclei"), (NUCLEOLI, "Nucleoli"), (WOUNDS, "Wounds, day 3"), ("33" + WOUNDS[2:], "22cc")]
JOBS = ("9f2e0000-0000-4000-8000-000000000001", "9f2f0000-0000-4000-8000-000000000002")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EXPORTD_URL", "EXPORTD_TOKEN", "EXPORTD_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXPORTD_DATA", str(tmp_path / "data"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three projects, two jobs."""
    data = tmp_path / "data"
    with EmbeddedCatalogue(data) as catalogue:
        for project, title in PROJECTS[:3]:
            alice = catalogue.insert(project, title, "spheroid", "alice@example.org", [])
        catalogue.insert(PROJECTS[3][0], "Nuclei", "spheroid", "bob@example.org", [])
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with closing(Journal(data)) as journal:
        for job_id in JOBS:
            job = Job(job_id, NUCLEI, "Nuclei", User(alice.id, ""), ExportOptions(include_documentation=True), now)
            row = Transition(job_id, None, "pending", Reason.SUBMITTED, alice.id, now)
            journal.commit([SaveJob(job, row)])
    return data


def run(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], env=env)


# --- which one is meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "project"),
    [
        ("nuclei", NUCLEI),
        (" NUCLEI ", NUCLEI),
        ("nucleo", NUCLEOLI),
        ("wounds", WOUNDS),
        ("11aa", NUCLEI),
        ("11AA0000-", NUCLEI),
        ("22cc", "33" + WOUNDS[2:]),
        ("22cc0", WOUNDS),
    ],
)
def test_what_fits_best_is_meant(text: str, project: str) -> None:
    assert pick(text, PROJECTS) == project


@pytest.mark.parametrize("text", ["nucle", "sperm", "11a", "", "ounds"])
def test_what_fits_several_or_none_is_usage_and_lists_them(text: str) -> None:
    with pytest.raises(Failure) as caught:
        pick(text, PROJECTS)
    assert caught.value.code == 2
    assert NUCLEI in str(caught.value)


def test_without_projects_it_says_how_to_get_one() -> None:
    with pytest.raises(Failure, match="exportd import"):
        pick("nuclei", [])


def test_a_whole_id_is_not_looked_up(tmp_path: Path) -> None:
    assert local_project(Where(tmp_path / "none"), NUCLEI.upper()) == NUCLEI
    assert local_job(Where(tmp_path / "none"), JOBS[0]) == JOBS[0]
    assert not (tmp_path / "none").exists()


def test_a_title_is_looked_for_among_what_the_user_may_export(data: Path) -> None:
    with pytest.raises(Failure, match="2 projects fit"):
        local_project(Where(data), "nuclei")
    assert local_project(Where(data), "nuclei", "alice@example.org") == NUCLEI
    assert local_project(Where(data), "nuclei", "bob@example.org") == PROJECTS[3][0]


def test_a_job_is_found_by_the_beginning_of_its_id(data: Path) -> None:
    assert local_job(Where(data), "9f2e") == JOBS[0]
    assert local_job(Where(data), "0000") == "0000", "whoever is asked next may know it"
    with pytest.raises(Failure, match="2 exports begin with"):
        local_job(Where(data), "9f2")
    audit = run("audit", "9f2e", "--json")
    assert [row["to"] for row in json.loads(audit.stdout)] == ["pending"]
    assert run("audit", "9f2").exit_code == 2


@pytest.mark.parametrize("text", ["9f2", "nuclei", "9f2*", "'; drop"])
def test_what_cannot_begin_an_id_is_usage(data: Path, text: str) -> None:
    done = run("audit", text)
    assert done.exit_code == 2
    assert "exportd jobs" in done.stderr


def test_share_takes_a_title(data: Path) -> None:
    done = run("share", "wounds", "carol@example.org", "--json")
    assert json.loads(done.stdout)["projectId"] == WOUNDS


def test_projects_are_listed_without_a_daemon(data: Path) -> None:
    listed = json.loads(run("projects", "--user", "alice@example.org", "--json").stdout)
    assert {row["id"] for row in listed} == {NUCLEI, NUCLEOLI, WOUNDS}
    assert set(listed[0]) == {"id", "title", "type", "role", "ownerEmail", "imageCount", "updatedAt"}
    line = run("projects", "--user", "bob@example.org").stdout
    assert line.split("\t")[:3] == [PROJECTS[3][0], "Nuclei", "0"]
    assert run("projects").exit_code == 2, "there are two users"


# --- completion ----------------------------------------------------------------------------------------------------


def complete(*words: str) -> list[str]:
    """What bash is offered after these words, of which the last is not finished."""
    environment = os.environ | {
        "_EXPORTD_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("exportd", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "exportd"], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_projects_jobs_and_formats_are_completed(data: Path) -> None:
    assert "export" in complete("exp")
    assert complete("export", "nucleo") == ["Nucleoli"]
    assert complete("export", "wou") == [WOUNDS], "a title that needs quotes is given as an id"
    assert complete("export", "11b") == [NUCLEOLI]
    assert complete("watch", "9f2e") == [JOBS[0]]
    assert complete("export", "x", "--format", "y") == ["yolo"]
    assert complete("export", "x", "--metrics", "p") == ["parquet"]


def test_where_there_is_nothing_there_is_silence(tmp_path: Path) -> None:
    assert complete("export", "") == []
    assert complete("watch", "") == []
    assert not (tmp_path / "data").exists(), "to complete makes nothing"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    done = run("completion", shell)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"_EXPORTD_COMPLETE={shell}_complete" in done.stdout
    assert run("completion", env={"SHELL": f"/usr/bin/{shell}"}).stdout == done.stdout


def test_an_unknown_shell_is_asked_for() -> None:
    done = run("completion", env={"SHELL": "/bin/dash"})
    assert done.exit_code == 2
    assert "bash, zsh, fish" in done.stderr


# --- what to do next -----------------------------------------------------------------------------------------------


def tree(kind: type[ExportdError] = ExportdError) -> Iterator[type[ExportdError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


@pytest.mark.parametrize("kind", sorted(set(tree()), key=str))
def test_every_error_has_its_advice_or_says_it_itself(kind: type[ExportdError]) -> None:
    assert kind.code in NEXT


def test_every_command_that_advice_names_exists() -> None:
    for advice in NEXT.values():
        for named in advice.split("`exportd ")[1:]:
            assert named.split("`")[0].split()[0] in cli.commands


def said(error: BaseException, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(click.exceptions.Exit), told():
        raise error
    return capsys.readouterr().err.splitlines()


def test_advice_follows_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    refused = ServerRefused(403, {"error": "There is no such project.", "code": "FORBIDDEN"})
    first, second = said(refused, capsys)
    assert first == "Error: There is no such project."
    assert "exportd projects" in second
    assert "exportd download" in said(errors.ExportCompleted("Done.", "j", "completed"), capsys)[1]
    assert "Make room" in said(OSError(errno.ENOSPC, "No space left on device", "a.zip"), capsys)[1]
    assert len(said(errors.Unreachable("No exportd answers; is it running?"), capsys)) == 1


def test_a_reader_who_goes_is_no_error_of_a_group() -> None:
    with pytest.raises(BrokenPipeError), told():
        raise BaseExceptionGroup("x", [BaseExceptionGroup("y", [BrokenPipeError(errno.EPIPE, "Broken pipe")])])


def test_conflicts_are_among_the_errors_with_advice() -> None:
    assert {kind.code for kind in tree(JobConflict)} - {"INTERNAL_ERROR"} <= set(NEXT)
    assert names.LISTED > 0
