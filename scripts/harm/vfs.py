"""SQLite's own file operations, passed by a function that may fail them: a layer of ours over its operating-system layer.

https://sqlite.org/vfs.html: a VFS opens files, and an opened file is a pointer to a table of methods. The default one is
copied with another `xOpen`, which has the method tables of what it opens replaced by copies that ask first. It needs a
SQLite that is a library of its own, as distributions have it; elsewhere only whole commits can be made to fail.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_int, c_int64, c_void_p
from typing import Any

_FULL, _CANTOPEN = 13, 14
_IOERR = {"read": 1, "write": 3, "fsync": 4, "truncate": 6, "delete": 10, "map": 21}
"""Numbers of the places of SQLITE_IOERR (10), https://sqlite.org/rescode.html."""


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_void_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("rest", c_void_p * 14),
    ]


class _Methods(ctypes.Structure):
    _fields_ = [("version", c_int), ("functions", c_void_p * 18)]


_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_Move = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)
_Map = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)

_METHODS: tuple[tuple[int, str, Any], ...] = (
    (1, "read", _Move),
    (2, "write", _Move),
    (3, "truncate", _Truncate),
    (4, "fsync", _Sync),
    (12, "map", _Map),
)
"""Places in `sqlite3_io_methods`, what they are called here, and their types."""

PassBy = Callable[[str, str], None]
"""Name and path of an operation; raises OSError to make it fail."""


def library() -> ctypes.CDLL | None:
    """The SQLite of this Python, None where it cannot be got at."""
    try:
        import _sqlite3

        found = ctypes.CDLL(_sqlite3.__file__)
        found.sqlite3_vfs_find.restype = POINTER(_Vfs)
        found.sqlite3_vfs_find.argtypes = (ctypes.c_char_p,)
        found.sqlite3_vfs_register.argtypes = (POINTER(_Vfs), c_int)
    except (ImportError, AttributeError, OSError):
        return None
    return found


def code(name: str, number: int) -> int:
    """What SQLite says when this operation fails with this errno."""
    if name in ("write", "truncate") and number == errno.ENOSPC:
        return _FULL
    return _CANTOPEN if name == "open" else 10 | _IOERR[name] << 8


def lay(pass_by: PassBy) -> None:
    """All connections that are opened from now on ask first. Nothing takes it back."""
    if (sqlite := library()) is not None:
        _Layer(sqlite, pass_by)


class _Layer:
    def __init__(self, sqlite: ctypes.CDLL, pass_by: PassBy) -> None:
        self._pass_by = pass_by
        self._below = sqlite.sqlite3_vfs_find(None)
        self._paths: dict[int, str] = {}
        self._tables: dict[int, _Methods] = {}
        self._kept: list[Any] = [sqlite]
        below = self._below.contents
        self._really_open, self._really_delete = _Open(below.open), _Delete(below.delete)
        above = _Vfs.from_buffer_copy(below)
        above.name = ctypes.cast(self._keep(ctypes.c_char_p(b"counted")), c_void_p).value
        above.open = ctypes.cast(self._keep(_Open(self._open)), c_void_p).value
        above.delete = ctypes.cast(self._keep(_Delete(self._delete)), c_void_p).value
        sqlite.sqlite3_vfs_register(ctypes.byref(self._keep(above)), 1)
        _LAID.append(self)

    def _keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value

    def _refused(self, name: str, path: str) -> int:
        try:
            self._pass_by(name, path)
        except OSError as error:
            return code(name, error.errno or 0)
        return 0

    def _open(self, _: int, name: int | None, file: int, flags: int, out: int | None) -> int:
        path = os.fsdecode(ctypes.string_at(name)) if name else ""
        methods = ctypes.cast(file, POINTER(c_void_p))
        if refused := self._refused("open", path):
            methods[0] = None
            return refused
        # The layer below keeps the pointers that it is given: they go on as they came.
        result = int(self._really_open(ctypes.addressof(self._below.contents), name, file, flags, out))
        if result == 0 and methods[0]:
            self._paths[file] = path
            methods[0] = ctypes.addressof(self._counting(methods[0]))
        return result

    def _delete(self, _: int, name: int, sync: int) -> int:
        path = os.fsdecode(ctypes.string_at(name))
        return self._refused("delete", path) or int(
            self._really_delete(ctypes.addressof(self._below.contents), name, sync)
        )

    def _counting(self, table: int) -> _Methods:
        if table not in self._tables:
            methods = _Methods.from_buffer_copy(ctypes.cast(table, POINTER(_Methods)).contents)
            for place, name, kind in _METHODS:
                if methods.functions[place]:
                    function = self._keep(kind(self._method(name, kind(methods.functions[place]))))
                    methods.functions[place] = ctypes.cast(function, c_void_p).value
            self._tables[table] = methods
        return self._tables[table]

    def _method(self, name: str, real: Any) -> Callable[..., int]:
        def counted(file: int, *args: Any) -> int:
            return self._refused(name, self._paths.get(file, "")) or int(real(file, *args))

        return counted


_LAID: list[_Layer] = []
"""SQLite has pointers into them."""
