"""`exportd verify`: what it prints, and its exit codes."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exportd.cli import cli


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["verify", *(str(a) for a in arguments)])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The smallest archive that is whole."""
    path, report = tmp_path / "project.zip", b'{"warnings":[]}'
    digest = sha256(report).hexdigest()
    row = {"path": "export_report.json", "size": len(report), "sha256": digest}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("export_report.json", report)
        file.writestr("manifest.json", json.dumps({"version": 1, "members": [row]}))
        file.writestr("SHA256SUMS", f"{digest}  export_report.json\n")
    return path


def test_a_whole_archive_ends_with_0_and_tells_what_was_checked(archive: Path) -> None:
    done = run(archive)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "3 of 3 files were read to their end" in done.stdout
    assert done.stdout.splitlines()[-1] == f"{archive} is whole."


def test_each_fault_is_a_line_with_its_place_and_the_exit_code_is_1(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("more\x1b[31m.txt", b"x")
    done = run(archive)
    assert done.exit_code == 1
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT ")]
    assert len(faults) == 3
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1] == f"{archive}: 3 faults."


def test_programs_get_json(archive: Path) -> None:
    answer = json.loads(run(archive, "--json").stdout)
    assert set(answer) == {"file", "whole", "members", "bytes", "checks", "faults", "moreFaults"}
    assert (answer["whole"], answer["members"], answer["faults"]) == (True, 3, [])
    archive.write_bytes(b"hello")
    done = run(archive, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["faults"] == [
        {"place": "project.zip", "sentence": "this is no ZIP archive, or its end is missing"}
    ]


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert run(tmp_path / "none.zip").exit_code == 2
