"""Every operation that exportd does on its files, counted; at one of them something happens: the process dies, or it fails.

Counted are the functions of `os` that exportd, pathlib, shutil and tempfile go through, files opened by name, the reads of
decoders, `sync_file_range`, and what SQLite does with the files of journal and catalogue (`vfs`), each where it concerns
the data directory. That is all that matters: whatever exportd announces stands on one of these. Not counted are the bytes
that Parquet's own code writes into the scratch folder. A death between two of them leaves what a death before the
next operation leaves, a folder that is swept whole; and how they fail shows a disk that is really full (`machine`).

The process dies before an operation, never after one: between the n-th and the next nothing changes on the disk, and
what was told in between is known when it dies before the next.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import trio

from exportd.store import artifacts, writeback
from exportd.store.journal import Change, Journal
from harm import vfs

CHANGES = frozenset(
    {
        "open",
        "write",
        "fsync",
        "ftruncate",
        "rename",
        "unlink",
        "rmdir",
        "mkdir",
        "close",
        "commit",
        "truncate",
        "delete",
    }
)
"""Operations after which the disk may be another, and `close`, before which much is told."""

ALL = CHANGES | {"read", "writeback", "map"}

PATIENCE = 20.0
"""Seconds that a thread is held for at most; never reached."""

_BY_DESCRIPTOR = {
    "write": "write",
    "pwrite": "write",
    "read": "read",
    "pread": "read",
    "fsync": "fsync",
    "ftruncate": "ftruncate",
    "close": "close",
}
_BY_PATH = {
    "open": "open",
    "rename": "rename",
    "replace": "rename",
    "unlink": "unlink",
    "rmdir": "rmdir",
    "mkdir": "mkdir",
}
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|#\d+|tmp\w+")

WINDOW = 4096
"""Bytes of a window of write-back while operations are counted: a small archive has some then, too."""


class Operation(NamedTuple):
    """What is done, and where: below the data directory, the same for every job."""

    name: str
    place: str

    def __str__(self) -> str:
        return f"{self.name} {self.place}"


class Hold:
    """Keeps the first thread that comes to an operation standing before it, until it is let go."""

    def __init__(self, matches: Callable[[Operation], bool]) -> None:
        self._matches = matches
        self.reached = trio.Event()
        self._free = threading.Event()
        self._used = False

    def look(self, operation: Operation) -> None:
        if not self._used and self._matches(operation):
            self._used = True
            trio.from_thread.run_sync(self.reached.set)
            self._free.wait(PATIENCE)

    def let_go(self) -> None:
        self._free.set()


class Wire:
    """Is passed by every operation. Once `armed` it counts those with one of `names` and calls `act` before each."""

    def __init__(self, root: Path, names: Collection[str], act: Callable[[int, Operation], None]) -> None:
        self.armed = False
        self.passed: list[Operation] = []
        self._root = f"{os.path.realpath(root)}/"
        self._names, self._act = names, act
        self._holds: list[Hold] = []
        self._lock = threading.Lock()

    def hold(self, matches: Callable[[Operation], bool]) -> Hold:
        """See `Hold`; armed or not."""
        self._holds.append(Hold(matches))
        return self._holds[-1]

    def pass_by(self, name: str, path: str) -> None:
        """Raises what `act` raises."""
        if not path.startswith(self._root):
            return
        place = path.removeprefix(self._root).removesuffix(" (deleted)")
        operation = Operation(name, _IDS.sub("*", place))
        for hold in self._holds:
            hold.look(operation)
        if self.armed and name in self._names:
            with self._lock:
                number = len(self.passed)
                self.passed.append(operation)
            self._act(number, operation)


def lay(wire: Wire) -> None:
    """From now on all operations of this process pass by the wire. For a process that ends soon: nothing takes it back."""
    for function, name in _BY_DESCRIPTOR.items():
        setattr(os, function, _by_descriptor(wire, getattr(os, function), name))
    for function, name in _BY_PATH.items():
        setattr(os, function, _by_path(wire, getattr(os, function), name))
    io.open = builtins.open = _opening(wire, io.open)
    io.FileIO = _reading(wire)  # type: ignore[misc]
    if writeback._sync_file_range is not None:
        writeback._sync_file_range = _writing_back(wire, writeback._sync_file_range)
    artifacts.WINDOW = WINDOW
    Journal._transact = _committing(wire, Journal._transact)  # type: ignore[assignment, method-assign]
    vfs.lay(wire.pass_by)


def _of_descriptor(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _of_path(path: Any, folder: int | None) -> str:
    if isinstance(path, int):
        return _of_descriptor(path)
    text = os.fsdecode(path)
    base = os.getcwd() if folder is None else _of_descriptor(folder)
    return os.path.normpath(f"{base}/{text}") if not text.startswith("/") else text


def _by_descriptor(wire: Wire, real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def counted(fd: int, *args: Any) -> Any:
        try:
            wire.pass_by(name, _of_descriptor(fd))
        except OSError:
            if name == "close":  # Linux closes it even so
                real(fd)
            raise
        return real(fd, *args)

    return counted


def _by_path(wire: Wire, real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def counted(path: Any, *args: Any, **more: Any) -> Any:
        wire.pass_by(name, _of_path(path, more.get("dir_fd")))
        return real(path, *args, **more)

    return counted


def _opening(wire: Wire, real: Callable[..., Any]) -> Callable[..., Any]:
    def counted(file: Any, *args: Any, **more: Any) -> Any:
        if not isinstance(file, int) and more.get("opener") is None:
            wire.pass_by("open", _of_path(file, None))
        return real(file, *args, **more)

    return counted


def _reading(wire: Wire) -> type[io.FileIO]:
    class Counted(io.FileIO):
        def readinto(self, buffer: Any, /) -> int:
            wire.pass_by("read", _of_descriptor(self.fileno()))
            return super().readinto(buffer)

    return Counted


def _writing_back(wire: Wire, real: Callable[[int, int, int, int], int]) -> Callable[[int, int, int, int], int]:
    def counted(fd: int, offset: int, length: int, flags: int) -> int:
        try:
            wire.pass_by("writeback", _of_descriptor(fd))
        except OSError as error:
            ctypes.set_errno(error.errno or 0)
            return -1
        return real(fd, offset, length, flags)

    return counted


def _committing(
    wire: Wire, real: Callable[[Journal, Sequence[Change]], None]
) -> Callable[[Journal, Sequence[Change]], None]:
    def counted(journal: Journal, changes: Sequence[Change]) -> None:
        _, _, path = journal._db.execute("PRAGMA database_list").fetchone()
        try:
            wire.pass_by("commit", os.path.realpath(path))
        except OSError as error:
            raised = sqlite3.OperationalError(error.strerror)
            raised.sqlite_errorcode = vfs.code("write", error.errno or 0)
            raise raised from error
        real(journal, changes)

    return counted
