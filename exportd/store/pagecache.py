"""Reads of what the kernel holds in memory, which never wait for a disk.

A thread costs more than copying a mebibyte that is there already, so an event loop may well read that itself. Looking first
(`mincore`) would not do: pages leave between look and read. Here the kernel looks while it reads, or says that it would have
to wait. Linux only, and not every file system: where it cannot be asked nothing counts as held.
"""

from __future__ import annotations

import errno
import os

_NOT_TAKEN = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM})
"""The question is not known here: a file system in memory, an old kernel, a sandbox."""

_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)


def read_held(fd: int, into: memoryview, offset: int) -> int | None:
    """Fills `into` from `offset` of the file as far as that is in memory; the number of bytes, 0 at the end of the file.
    None where not even the first byte can be had without waiting. Raises OSError."""
    if _NOWAIT is None:
        return None
    try:
        return os.preadv(fd, [into], offset, _NOWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in _NOT_TAKEN:
            return None
        raise
