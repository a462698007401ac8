"""Archives on disk: staging file -> fsync -> rename. Blocking.

A job's staging file and archive are named by its id, so two archives never share a path, whatever their titles. Both
directories lie in the data directory, hence in one file system: the rename is atomic.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from exportd.errors import DataDirectoryInUse, DataDirectoryUnusable, InsufficientSpace
from exportd.settings import Reserve
from exportd.store.writeback import forget_range, write_range

T = TypeVar("T")

SPACE_INTERVAL = 16 << 20
"""Bytes between two looks at the free space."""

WINDOW = 8 << 20
"""Bytes that are put on the disk at a time while the next ones are written: never more than two windows wait, since a
cancel can interrupt neither an fsync nor the removal of pages that are on their way."""


class Wanted(NamedTuple):
    """Ids of jobs whose archives stay, and of those that are being made, whose staging files stay."""

    archives: Collection[str]
    staging: Collection[str] = ()


class Swept(NamedTuple):
    """Names of what a sweep has removed, and of what it could not remove."""

    removed: list[str]
    stuck: list[str]


class Artifacts:
    """The staging and archive directories of one data directory."""

    def __init__(self, data: Path, reserve: Reserve, wrote: Callable[[int], None] = lambda _count: None) -> None:
        """`wrote` is told how many bytes were written, every `SPACE_INTERVAL` of a file and when it is closed."""
        self._data = data
        self.wrote = wrote
        self._reserve = reserve
        self._staging = data / "staging"
        self._archives = data / "archives"
        for directory in (self._staging, self._archives):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def stage(self, job_id: str) -> Staged:
        """A new staging file. Raises OSError."""
        return Staged(self, self._staging / job_id, self._archives / f"{job_id}.zip")

    def open(self, job_id: str) -> int:
        """A descriptor of a published archive, for reading. Raises FileNotFoundError."""
        return os.open(self._archives / f"{job_id}.zip", os.O_RDONLY | os.O_CLOEXEC)

    def size(self, job_id: str) -> int | None:
        """Bytes of a published archive, None if there is none."""
        try:
            return (self._archives / f"{job_id}.zip").stat().st_size
        except FileNotFoundError:
            return None

    def room(self) -> int:
        """Bytes for all that is being written and all that is to come: what is free, and what lies in staging already."""
        written = 0
        for path in self._staging.glob("*.zip"):
            with suppress(FileNotFoundError):  # it was published or removed meanwhile
                written += path.stat().st_size
        return self.free() + written

    def remove(self, job_id: str) -> None:
        """Unlinks an archive; it being gone already is fine. Who has it open can read on."""
        (self._archives / f"{job_id}.zip").unlink(missing_ok=True)

    def sweep(self, wanted: Callable[[], Wanted]) -> Swept:
        """Removes what belongs to no wanted job. Raises OSError when the directories cannot be listed.

        `wanted` is asked when all is listed: a job that begins after that has nothing in the list, and cannot lose it.
        """
        archives, staging = list(self._archives.iterdir()), list(self._staging.iterdir())
        jobs = wanted()
        orphans = [path for path in archives if _job(path) not in jobs.archives]
        orphans += [path for path in staging if _job(path) not in jobs.staging]
        removed, stuck = [], []
        for path in orphans:
            try:
                _remove(path)
            except OSError:  # the others go all the same
                stuck.append(path.name)
            else:
                removed.append(path.name)
        return Swept(removed, stuck)

    def free(self) -> int:
        """Bytes that may still be used: free space less the reserve. May be negative."""
        usage = shutil.disk_usage(self._data)
        return usage.free - self._reserve.of(usage.total)


def _job(path: Path) -> str:
    return path.name.partition(".")[0]


def _remove(path: Path) -> None:
    """A file, or a folder with all that is in it; it being gone already is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Staged:
    """An archive that is being written, and a scratch folder beside it for what does not fit into memory meanwhile."""

    def __init__(self, artifacts: Artifacts, stem: Path, target: Path) -> None:
        self._artifacts = artifacts
        self._path, self._target = stem.with_suffix(".zip"), target
        self._scratch = stem.with_suffix(".scratch")
        self._sha256 = hashlib.sha256()
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0
        self._told = 0
        self._next_look = 0
        self._windows = 0
        self._kept = ExitStack()

    def write(self, data: bytes) -> None:
        """Appends. Raises `InsufficientSpace` when the reserve is reached, and OSError."""
        if self.size >= self._next_look:
            self._look_at_space()
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._sha256.update(data)
        self.size += len(data)
        while self.size >= (self._windows + 1) * WINDOW:
            self._write_window()

    def rewind(self) -> None:
        """Begins again from nothing, scratch folder and nameless files too."""
        self.clear_scratch()
        self._tell()
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._sha256 = hashlib.sha256()
        self.size = self._told = self._next_look = self._windows = 0

    def flush(self) -> str:
        """Puts everything on the disk; the SHA-256 in hex."""
        os.fsync(self._fd)
        return self._sha256.hexdigest()

    def publish(self) -> None:
        """Gives the flushed file its final name, durably."""
        self._path.rename(self._target)
        directory = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Closes the descriptors, and what is kept; again is fine. Of files that have no name the kernel gives the room back
        now, which takes about a tenth of a second for a gigabyte."""
        self._tell()
        with ExitStack() as stack:
            stack.callback(self._kept.close)
            if self._fd >= 0:
                stack.callback(os.close, self._fd)
                self._fd = -1

    def temporary(self) -> int:
        """A descriptor of a new file without a name, for reading and writing; `clear_scratch` and `close` close it."""
        return self.keep(tempfile.TemporaryFile(dir=self._path.parent, buffering=0)).fileno()

    def keep(self, files: AbstractContextManager[T]) -> T:
        """Open files of this job: `clear_scratch` and `close` close them, whether the work came to its end or not. They may
        have lost their names by then."""
        return self._kept.enter_context(files)

    def scratch(self) -> Path:
        """A folder for files of this job alone, made when it is first asked for; `clear_scratch` removes it."""
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        return self._scratch

    def clear_scratch(self) -> None:
        """Removes the scratch folder with all that is in it, and closes what is kept; there being none is fine."""
        with ExitStack() as stack:
            stack.callback(self._kept.close)
            stack.callback(_remove, self._scratch)

    def unlink(self) -> None:
        """Removes the file, under whichever of its names it has, and the scratch folder; again is fine. Raises OSError,
        and removes what it can even so."""
        with ExitStack() as stack:
            stack.callback(_remove, self._scratch)
            stack.callback(self._target.unlink, missing_ok=True)
            stack.callback(self._path.unlink, missing_ok=True)

    def _look_at_space(self) -> None:
        if self._artifacts.free() <= 0:
            raise InsufficientSpace("The disk of the export service is full; make room or ask for less.")
        self._tell()
        self._next_look = self.size + SPACE_INTERVAL

    def _tell(self) -> None:
        self._artifacts.wrote(self.size - self._told)
        self._told = self.size

    def _write_window(self) -> None:
        """Has the newest window written, and waits until the one before is on the disk. That one leaves memory: a cancel
        waits for the kernel to free what is there, and other programs have better use for it."""
        begin = self._windows * WINDOW
        write_range(self._fd, begin, WINDOW, wait=False)
        if begin:
            write_range(self._fd, begin - WINDOW, WINDOW, wait=True)
            forget_range(self._fd, begin - WINDOW, WINDOW)
        self._windows += 1


class DataLock:
    """Holds the data directory for one process. The kernel lets go when the process ends, however it ends."""

    def __init__(self, data: Path) -> None:
        """Creates the directory if need be. Raises `DataDirectoryInUse`, `DataDirectoryUnusable`."""
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The data directory {data} cannot be used: {error.strerror}; name another with --data."
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise DataDirectoryInUse(
                f"Another exportd serves {data}; stop it first, or name another directory with --data."
            ) from None

    def __enter__(self) -> DataLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
