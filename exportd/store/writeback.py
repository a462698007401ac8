"""Parts of a file to the disk and out of memory, before the fsync that makes the whole durable: it has little left to do then.

`sync_file_range` is Linux's own and the standard library has no name for it; not every system has `posix_fadvise`. Elsewhere,
and on file systems that do not take them, nothing is done here. Where they are taken errors count: the kernel tells of a
page that could not be written once for each open file, and the fsync that follows would return as if all were well.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable

_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4

_NOT_TAKEN = frozenset({errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EOPNOTSUPP, errno.EPERM})
"""The call is not known here, or may not be used: nothing was tried."""


def write_range(fd: int, offset: int, length: int, *, wait: bool) -> None:
    """Begins to write `length` bytes from `offset`, and with `wait` returns when they are written. Raises OSError."""
    if _sync_file_range is None:
        return
    failed = _sync_file_range(fd, offset, length, _WAIT_BEFORE | _WRITE | _WAIT_AFTER if wait else _WRITE)
    if failed and (code := ctypes.get_errno()) not in _NOT_TAKEN:
        raise OSError(code, os.strerror(code))


def forget_range(fd: int, offset: int, length: int) -> None:
    """Lets the kernel give up its copy of what is on the disk. Raises OSError."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def _find() -> Callable[[int, int, int, int], int] | None:
    if (
        sys.platform != "linux"
        or (found := getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)) is None
    ):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call: Callable[[int, int, int, int], int] = found
    return call


_sync_file_range = _find()
