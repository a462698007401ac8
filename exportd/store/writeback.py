"""Parts of a file to the disk, before the fsync that makes the whole durable: it has little left to do then.

`sync_file_range` is Linux's own and the standard library has no name for it. Elsewhere, and on file systems that do not
take it, nothing is done here: it is the fsync that counts.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4


def write_range(fd: int, offset: int, length: int, *, wait: bool) -> None:
    """Begins to write `length` bytes from `offset`, and with `wait` returns when they are written. Errors are left to the
    fsync, which reports them too."""
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _WAIT_BEFORE | _WRITE | _WAIT_AFTER if wait else _WRITE)


def _find() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux" or (found := getattr(ctypes.CDLL(None), "sync_file_range", None)) is None:
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call: Callable[[int, int, int, int], int] = found
    return call


_sync_file_range = _find()
