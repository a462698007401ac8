"""Where an archive goes: a pipe, a folder; and what is shown meanwhile."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner
from conftest import World

from exportd.cli import cli, delivering
from exportd.cli.delivering import Pipe
from exportd.cli.extracting import extract
from exportd.cli.failures import Failure
from exportd.cli.output import coloured, span
from exportd.cli.progress import Lines, Rate, Silence, display
from exportd.errors import ChecksumMismatch, Unreachable
from exportd.verifying.archive import verify

ARCHIVE = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
PATIENCE = 60


def environment(world: World) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")}
    return clean | {"EXPORTD_DATA": str(world.settings.data), "EXPORTD_PORT": "9"}


def exportd(world: World, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "exportd", *arguments]
    return subprocess.run(command, capture_output=True, env=environment(world), timeout=PATIENCE)


# --- to a pipe -----------------------------------------------------------------------------------------------------


def test_an_archive_goes_to_standard_output_and_nothing_else_does(world: World, tmp_path: Path) -> None:
    done = exportd(world, "export", "Sample", "--format", "coco", "-o", "-")
    assert done.returncode == 0, done.stderr
    (tmp_path / "piped.zip").write_bytes(done.stdout)
    assert verify(tmp_path / "piped.zip").whole
    assert b"on standard output" in done.stderr


def test_a_reader_that_goes_early_ends_it_quietly(world: World) -> None:
    command = [sys.executable, "-m", "exportd", "export", world.project_id, "--quiet", "-o", "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment(world)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(2) == b"PK"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1


@pytest.mark.parametrize("also", [["--json"], ["--extract", "folder"]])
def test_what_would_mix_with_the_archive_is_refused(also: list[str]) -> None:
    done = CliRunner().invoke(cli, ["export", "x", "-o", "-", *also])
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_terminal_gets_no_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    with pytest.raises(Failure, match="pipe it on"):
        delivering.check_stdout()


async def in_thread(call: Callable[[], object]) -> None:
    await trio.to_thread.run_sync(call)


async def test_a_pipe_takes_all_and_is_verified() -> None:
    reading, writing = os.pipe()
    pipe = Pipe(writing, SHA256)
    read: list[bytes] = []

    def drain() -> None:
        with os.fdopen(reading, "rb") as file:
            read.append(file.read())

    reader = threading.Thread(target=drain)
    reader.start()
    pipe.rewind()
    await in_thread(lambda: pipe.write(ARCHIVE))
    os.close(writing)
    pipe.finish()
    reader.join(PATIENCE)
    assert read == [ARCHIVE]
    with pytest.raises(Unreachable):
        pipe.rewind()


async def test_a_pipe_tells_of_what_was_not_announced() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        pipe = Pipe(nothing, SHA256)
        await in_thread(lambda: pipe.write(ARCHIVE[:-1]))
        with pytest.raises(ChecksumMismatch, match="do not use"):
            pipe.finish()
    finally:
        os.close(nothing)


async def test_a_pipe_that_nobody_empties_can_be_given_up() -> None:
    reading, writing = os.pipe()
    try:
        with trio.fail_after(PATIENCE), trio.move_on_after(0.3) as given_up:
            await in_thread(lambda: Pipe(writing, SHA256).write(ARCHIVE))
        assert given_up.cancelled_caught
    finally:
        os.close(reading)
        os.close(writing)


# --- into a folder -------------------------------------------------------------------------------------------------


def test_an_export_is_unpacked_and_the_archive_is_gone(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "nuclei"
    done = exportd(world, "export", world.project_id, "--format", "coco", "--extract", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{folder}\n"
    sums = dict(line.split("  ", 1)[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    for name, sha256 in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*sums, "SHA256SUMS", "manifest.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["nuclei"]


def test_with_an_output_the_archive_stays(world: World, tmp_path: Path) -> None:
    file, folder = tmp_path / "a.zip", tmp_path / "a"
    done = exportd(world, "export", "Sample", "--documentation", "-o", str(file), "--extract", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["file"], answer["folder"]) == (str(file), str(folder))
    assert verify(file).whole
    assert (folder / "documentation/README.md").exists()


def test_a_folder_with_something_in_it_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = CliRunner().invoke(cli, ["export", "x", "--extract", str(tmp_path)])
    assert done.exit_code == 2
    assert "new or an empty folder" in done.stderr


def archive(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content)
    return path


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\b", "con", "a/"])
def test_a_name_that_leads_elsewhere_is_not_unpacked(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failure, match="not unpacked"):
        extract(archive(tmp_path / "a.zip", {"good.txt": b"x", name: b"evil"}), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_a_link_is_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no regular file"):
        extract(archive(tmp_path / "a.zip", {"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_names_that_differ_in_case_are_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="only in case"):
        extract(archive(tmp_path / "a.zip", {"a.txt": b"1", "A.txt": b"2"}), tmp_path / "out")


def test_a_damaged_member_leaves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("first.txt", b"first")
        file.writestr("second.txt", b"the second one")
    path.write_bytes(path.read_bytes().replace(b"the second one", b"the second 0ne"))
    with pytest.raises(Failure, match=r"second\.txt in the archive is damaged"):
        extract(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"nothing")
    with pytest.raises(Failure, match="no ZIP"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_an_empty_folder_is_filled_and_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.unpacking").mkdir()
    (tmp_path / ".out.unpacking/old").touch()
    assert extract(archive(tmp_path / "a.zip", {"deep/er/a.txt": b"x"}), tmp_path / "out") == 1
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.txt", "a.zip"]


# --- what is shown -------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_quiet_tells_nothing_but_the_answer(world: World, tmp_path: Path) -> None:
    done = exportd(world, "export", "Sample", "--format", "coco", "--quiet", "-o", str(tmp_path / "a.zip"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{tmp_path / 'a.zip'}\n"
    assert isinstance(display(quiet=True), Silence)


def test_quiet_still_tells_errors(world: World) -> None:
    done = exportd(world, "export", "nothing like it", "--quiet")
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: No project is called")


def test_colours_are_for_terminals_whose_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())


def test_a_rate_is_told_once_it_means_something() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    assert rate.at("images", 0) is None
    now[0] = 0.5
    assert rate.at("images", 100) is None, "too soon"
    now[0] = 2.0
    assert rate.at("images", 20) == 10
    assert rate.at("metrics", 5) is None, "another stage begins anew"
    now[0] = 4.0
    assert rate.at("metrics", 9) == 2
    assert rate.at("metrics", 5) is None, "nothing was done"


def test_lines_tell_rate_and_remaining_time(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = Lines()
    lines._rate = Rate(lambda: now[0])

    def frame(percent: int, count: int) -> dict[str, Any]:
        stage = {"current": count, "total": 50, "currentItem": "a.png"}
        data = {"progress": percent, "stage": "images", "stageProgress": stage, "estimatedTimeRemaining": 90.2}
        return {"event": "export:progress", "seq": 1, "data": data}

    lines.frame(frame(1, 1))
    now[0] = 4.0
    lines.frame(frame(41, 21))
    lines.bytes(0, 4 << 20)
    now[0] = 6.0
    lines.bytes(1 << 20, 4 << 20)
    assert capsys.readouterr().err.splitlines() == [
        "  1 % images 1/50 a.png, 90 s left",
        " 41 % images 21/50 a.png, 5 images/s, 90 s left",
        "  0 % downloading",
        " 25 % downloading, 512.0 KiB/s, 6 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_stretches_of_time_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text
