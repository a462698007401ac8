"""Archives appear whole or not at all."""

import ctypes
import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from exportd.errors import DataDirectoryInUse, InsufficientSpace
from exportd.settings import Reserve
from exportd.store import writeback
from exportd.store.artifacts import WINDOW, Artifacts, DataLock, Wanted

NO_RESERVE = Reserve(0, None)


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_a_published_archive_is_what_was_written(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, NO_RESERVE)
    staged = artifacts.stage("j")
    for part in (b"abc", b"", b"def" * 1000):
        staged.write(part)
    assert files(tmp_path) == ["staging/j.zip"]
    assert staged.flush() == hashlib.sha256(b"abc" + b"def" * 1000).hexdigest()
    staged.publish()
    staged.close()
    assert files(tmp_path) == ["archives/j.zip"]
    assert artifacts.size("j") == staged.size == 3003
    fd = artifacts.open("j")
    artifacts.remove("j")
    artifacts.remove("j")
    assert os.read(fd, 10_000) == b"abc" + b"def" * 1000  # who has it open reads on
    os.close(fd)
    assert artifacts.size("j") is None


@pytest.mark.parametrize("published", [False, True])
def test_a_discarded_archive_leaves_nothing_under_either_name(tmp_path: Path, published: bool) -> None:
    staged = Artifacts(tmp_path, NO_RESERVE).stage("j")
    staged.write(b"x")
    if published:
        staged.publish()
    staged.unlink()
    staged.unlink()
    staged.close()
    assert files(tmp_path) == []


def test_a_rewound_file_begins_anew(tmp_path: Path) -> None:
    staged = Artifacts(tmp_path, NO_RESERVE).stage("j")
    staged.write(b"first try")
    staged.rewind()
    staged.write(b"2nd")
    assert (staged.flush(), staged.size) == (hashlib.sha256(b"2nd").hexdigest(), 3)
    assert (tmp_path / "staging/j.zip").read_bytes() == b"2nd"
    staged.unlink()
    staged.close()


def test_the_reserve_is_not_touched(tmp_path: Path) -> None:
    staged = Artifacts(tmp_path, Reserve(1 << 60, None)).stage("j")
    with pytest.raises(InsufficientSpace):
        staged.write(b"x")
    staged.unlink()
    staged.close()


def test_a_sweep_takes_what_belongs_to_nobody(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, NO_RESERVE)
    for job in ("keep", "orphan"):
        staged = artifacts.stage(job)
        staged.publish()
        staged.close()
    for job in ("working", "dead"):
        artifacts.stage(job).close()
    swept = artifacts.sweep(lambda: Wanted({"keep"}, {"working"}))
    assert (sorted(swept.removed), swept.stuck) == (["dead.zip", "orphan.zip"], [])
    assert files(tmp_path) == ["archives/keep.zip", "staging/working.zip"]


def test_what_is_written_already_is_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = Artifacts(tmp_path, NO_RESERVE)
    monkeypatch.setattr(artifacts, "free", lambda: 5)
    staged = artifacts.stage("j")
    staged.write(b"x" * 3000)
    assert artifacts.room() == 3005
    staged.publish()
    staged.close()
    assert artifacts.room() == 5


def test_a_sweep_goes_on_past_what_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, "planted")

    artifacts = Artifacts(tmp_path, NO_RESERVE)
    for name in ("a.scratch", "z.scratch"):
        (tmp_path / "staging" / name).mkdir()
    (tmp_path / "staging/m.zip").touch()
    monkeypatch.setattr(shutil, "rmtree", refuse)
    swept = artifacts.sweep(lambda: Wanted(()))
    assert (swept.removed, sorted(swept.stuck)) == (["m.zip"], ["a.scratch", "z.scratch"])


def test_an_error_of_writing_ahead_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of a page that it could not write once; the fsync at the end would know nothing of it."""

    def fail(fd: int, offset: int, length: int, flags: int) -> int:
        ctypes.set_errno(error)
        return -1

    monkeypatch.setattr(writeback, "_sync_file_range", fail)
    staged = Artifacts(tmp_path, NO_RESERVE).stage("j")
    error = errno.ENOSYS  # this kernel has no such call: the fsync does it all
    staged.write(bytes(WINDOW))
    error = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        staged.write(bytes(WINDOW))
    staged.unlink()
    staged.close()


def test_a_system_without_hints_to_its_kernel_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "_sync_file_range", None)
    monkeypatch.delattr(os, "posix_fadvise")
    staged = Artifacts(tmp_path, NO_RESERVE).stage("j")
    for _ in range(3):
        staged.write(bytes(WINDOW))
    assert staged.flush() == hashlib.sha256(bytes(3 * WINDOW)).hexdigest()
    staged.unlink()
    staged.close()


def test_a_data_directory_serves_one_process(tmp_path: Path) -> None:
    with DataLock(tmp_path / "d"), pytest.raises(DataDirectoryInUse, match="Another exportd"):
        DataLock(tmp_path / "d")
    with DataLock(tmp_path / "d"):
        pass
