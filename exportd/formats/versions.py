"""The versions of what shapes the bytes of an archive: equal ones, equal bytes."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

SHAPING = (
    "imagecodecs",
    "numpy",
    "opencv-python-headless",
    "orjson",
    "pillow",
    "pyarrow",
    "shapely",
    "skia-python",
    "tifffile",
    "xlsxwriter",
    "zlib-ng",
)
"""Packages whose own numbers, order or compression stand in members."""


@cache
def versions() -> dict[str, str]:
    """Of Python and of the packages of `SHAPING` that are installed."""
    found = {"python": platform.python_version()}
    for name in SHAPING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # nothing that is asked for needs it, then
            continue
    return found
