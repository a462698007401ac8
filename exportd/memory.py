"""How the daemon's process uses memory; set once, before its first thread.

An export goes through large buffers by the thousand. glibc gives each back to the kernel at once, which then clears the pages
of the next one: a tenth of the time of an export of pictures. And it has a heap for each thread, all of which grow. Other
systems' libraries have no such settings, and nothing is done there.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder

import pyarrow as pa

HEAPS = 2
"""As many threads compute at a time on a machine of two processors; more threads than heaps only wait a little."""

KEPT = 32 << 20
"""Bytes of the largest buffer that is kept for the next one; the largest that glibc takes."""

SLACK = 64 << 20
"""Free bytes at the end of a heap that are kept at most."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def frugal() -> None:
    """For the process from now on."""
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it once had
    # Where it is installed Arrow would load it: 35 MB, to ask of each list whether it comes from there.
    with _NotInstalled("pandas"):
        pa.array([None])  # looks for it, and never again
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for setting, value in ((_ARENA_MAX, HEAPS), (_MMAP_THRESHOLD, KEPT), (_TRIM_THRESHOLD, SLACK)):
            mallopt(setting, value)


class _NotInstalled(MetaPathFinder):
    """Has a package be looked for in vain, within a block."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(self, fullname: str, *_: object) -> None:
        """None: others may find it."""
        if fullname == self._package:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
