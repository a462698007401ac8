"""What lies in the data directory is its owner's alone, however careless the umask; and nothing is written elsewhere."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import World, make_world, write_tiny_project
from daemons import FULL, environment, run, serving

WATCHER = """
import os, sys

inside, told = os.path.realpath(sys.argv.pop(1)), os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "os.setxattr", "os.removexattr", "shutil.rmtree", "sqlite3.connect", "tempfile.mkstemp", "tempfile.mkdtemp"}

def watch(event, args):
    if event == "open" and not (isinstance(args[2], int) and args[2] & WRITING):
        return
    if event != "open" and event not in CHANGES or event in {"os.remove", "os.rmdir"} and args[1] != -1:
        return  # below a folder that was opened, and so was looked at
    for path in args[: 2 if event in {"os.rename", "os.link"} else 1]:
        if isinstance(path, int) or path is None:
            continue  # opened before
        real = os.path.realpath(os.fsdecode(path).removeprefix("file://").partition("?")[0])
        if real != inside and not real.startswith(inside + "/"):
            os.write(told, f"{event} {real}\\n".encode())
        elif event == "open":
            os.write(told, b"inside\\n")

sys.addaudithook(watch)
from exportd.cli import main

main()
"""
"""Runs a command of exportd and writes down whatever it changes outside of a folder."""

OPEN = 0o077
"""Permissions of others."""


@pytest.fixture(params=[0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def told(world: World) -> dict[str, str]:
    """What others may do with anything that lies in the data directory, or with the directory."""
    found = {}
    for path in (world.settings.data, *world.settings.data.rglob("*")):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue  # an export is at work
        if stat.S_IMODE(mode) & OPEN and not path.is_symlink():
            found[path.relative_to(world.settings.data.parent).as_posix()] = stat.filemode(mode)
    return found


def test_files_and_folders_are_for_nobody_else(umask: int, tmp_path: Path) -> None:
    world = make_world(tmp_path / "data")
    assert told(world) == {}, "after the import"
    with serving(world) as daemon:
        job = daemon.start({"includeVisualizations": True, "metricsFormats": ["excel", "parquet"]})
        while daemon.status(job)["status"] in {"pending", "processing"}:
            assert told(world) == {}, "at work"
        assert daemon.status(job)["status"] == "completed"
        there = {path.name for path in world.settings.data.iterdir()}
        assert {"daemon.json", "lock", "secret", "journal.db", "journal.db-wal"} <= there
        assert told(world) == {}, "while it serves"


def test_without_a_daemon_they_are_no_less_private(umask: int, tmp_path: Path) -> None:
    world = make_world(tmp_path / "data")
    where = ("--data", str(world.settings.data))
    done = run("export", world.project_id, "--format", "coco", "-o", str(tmp_path / "a.zip"), *where)
    assert done.returncode == 0, done.stderr
    assert told(world) == {}


def test_nothing_is_written_outside_of_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole life: import, exports of everything, a cancel, pictures, a download, an expiry, a deletion, the end."""
    for name in ("HOME", "TMPDIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "elsewhere", "source"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.chdir(tmp_path / "elsewhere")
    world = make_world(tmp_path / "data")
    program = (sys.executable, "-c", WATCHER, str(world.settings.data), str(tmp_path / "told"))
    project = write_tiny_project(tmp_path / "source", 2, "spheroid")
    owner = ("--owner", "alice@example.org", "--data", str(world.settings.data))
    subprocess.run([*program, "import", "project", str(project), *owner], env=environment(), check=True)
    everything = FULL | {
        "annotationFormats": ["coco", "yolo", "json", "labels", "imagej", "geojson", "cvat", "labelme"],
        "metricsFormats": ["excel", "csv", "json", "parquet"],
        "includeVisualizations": True,
        "intensityMetrics": True,
    }
    with serving(world, program, archive_ttl="2s") as daemon:
        done, cancelled = daemon.start(everything), daemon.start(everything)
        assert daemon.http.post(f"{daemon.base}/{cancelled}/cancel").status_code in {200, 409}
        assert daemon.wait_ended(done)["status"] == "completed"
        picture = daemon.http.get(f"/api/projects/{world.project_id}/images").json()["images"][0]["id"]
        assert daemon.http.get(f"/api/projects/{world.project_id}/images/{picture}/thumbnail").status_code == 200
        assert daemon.http.get(f"{daemon.base}/{done}/download").status_code in {200, 410}
        while daemon.http.get(f"{daemon.base}/{done}/download").status_code != 410:
            pass
        assert daemon.http.delete(f"{daemon.base}/{done}").status_code == 204
        assert daemon.stop(signal.SIGTERM) == 0
    seen = (tmp_path / "told").read_text().splitlines()
    assert seen.count("inside") > 5, "the watcher sees what is written inside"
    assert {line for line in seen if line not in {"inside", "open /dev/null"}} == set()
    left = [path for name in ("HOME", "TMPDIR", "XDG_DATA_HOME", "elsewhere") for path in (tmp_path / name).rglob("*")]
    assert left == [], "nor by what is not Python"
