"""Originals only: an export against a plain copy of the same files, two archivers, and the least that can be done.

All of them end when the disk has it: an export is durable, and so is what it is held against.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from load.daemon import Daemon

from benches.figures import Goal, Measured, Note, Row, Sample, ratio
from benches.ground import Ground, cpu_of, in_turns, settle, timed
from benches.session import ORIGINALS, Session

OURS, CP, ZIP, ZIPFILE = "exportd", "cp -r, sync -f", "zip -0 -r, sync -f", "zipfile, chunks of 1 MiB, sync -f"
LEAST, CPU = "limit: into one file, fsync", "exportd, CPU time"
CHUNK = 1 << 20
AHEAD = 8 << 20
"""Bytes after which the kernel is told to begin to write them."""
START_WRITING = 2
"""SYNC_FILE_RANGE_WRITE of sync_file_range(2)."""


def measure(ground: Ground) -> Measured:
    folder = ground.place(ground.plates).originals
    with ground.serving(ground.plates) as (daemon, user), ground.scratch() as scratch:
        others = {CP: _copy, ZIPFILE: _zipfile, LEAST: _one_file}
        if shutil.which("zip"):
            others[ZIP] = _zip
        else:
            yield Note("zip is not installed: it was not measured.")
        sides = {name: partial(_other, work, folder, scratch) for name, work in others.items()}
        used = list[float]()
        yield from in_turns({OURS: partial(_export, daemon, user, folder, used), **sides}, ground.rounds())
        yield from (Sample(CPU, seconds) for seconds in used)


def _export(daemon: Daemon, user: Session, folder: Path, used: list[float]) -> float:
    """Seconds of one export; adds those of CPU time."""
    settle(folder)
    before = cpu_of(daemon.pid)
    ended = user.export(ORIGINALS)
    used.append(cpu_of(daemon.pid) - before)
    user.delete(ended.job)
    return ended.seconds


def _other(work: Callable[[Path, Path], None], folder: Path, scratch: Path) -> float:
    settle(folder)
    target = scratch / "target"
    try:
        return timed(partial(_durably, work, folder, target))
    finally:
        shutil.rmtree(target) if target.is_dir() else target.unlink()


def _durably(work: Callable[[Path, Path], None], folder: Path, target: Path) -> None:
    work(folder, target)
    settle(target)


def _copy(folder: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", folder, target], check=True)


def _zip(folder: Path, target: Path) -> None:
    subprocess.run(["zip", "-0", "-q", "-r", target.with_suffix(".zip"), "."], cwd=folder, check=True)
    target.with_suffix(".zip").rename(target)


def _zipfile(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for path in _files(folder):
            with path.open("rb") as source, archive.open(str(path.relative_to(folder)), "w") as member:
                while chunk := source.read(CHUNK):
                    member.write(chunk)


def _one_file(folder: Path, target: Path) -> None:
    """The same bytes without a sum or a header, room for them taken before, the disk kept busy from the beginning."""
    files = _files(folder)
    kernel, buffer, told, written = ctypes.CDLL(None), bytearray(CHUNK), 0, 0
    with target.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, sum(path.stat().st_size for path in files))
        for path in files:
            with path.open("rb", buffering=0) as source:
                while count := source.readinto(buffer):
                    written += file.write(memoryview(buffer)[:count])
            if written - told >= AHEAD and hasattr(kernel, "sync_file_range"):
                begin, length = ctypes.c_int64(told), ctypes.c_int64(written - told)
                kernel.sync_file_range(file.fileno(), begin, length, START_WRITING)
                told = written
        os.fsync(file.fileno())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


ROWS = (
    Row(
        "originals",
        "originals only, 300 PNG of 0.7 MB, from POST to completed, fsync included",
        (
            Goal("× the speed of cp -r, sync -f", ratio(CP, OURS), at_least=1.5),
            Goal("× the speed of zip -0 -r, sync -f", ratio(ZIP, OURS), at_least=5),
            Goal("× the speed of zipfile, sync -f", ratio(ZIPFILE, OURS), at_least=2),
        ),
        measure,
    ),
)
