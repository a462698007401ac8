"""Objects in members that are files of their own kind: label images and sets of ImageJ regions."""

from __future__ import annotations

import zipfile
from math import prod
from typing import IO

import numpy as np
import tifffile

from exportd.verifying.container import BROKEN
from exportd.verifying.findings import Damaged

MAX_SEGMENT = 1 << 30
"""Bytes of pixels that are unpacked at a time."""

MAX_OBJECTS = 10_000_000
"""In one image; more are no objects but noise."""

ROI_TYPE = 6
"""Where a region tells its type: the byte behind the signature and the version."""

LINES = frozenset({3, 4, 5})
"""Types of regions that are open: line, freehand line, polyline."""


def labels(file: IO[bytes], path: str) -> int:
    """Distinct values but 0, strip by strip. Raises `Damaged`."""
    seen: set[int] = set()
    try:
        with tifffile.TiffFile(file, name="labels.tif") as tiff:
            page = tiff.pages.first
            if page.dtype is None or page.dtype.kind not in "iu":
                raise Damaged(path, "its pixels are no whole numbers")
            if prod(page.chunks) * page.dtype.itemsize > MAX_SEGMENT:
                raise Damaged(path, "a strip of it is too large to be read")
            for segment, _, _ in page.segments(maxworkers=1):
                if segment is not None:
                    seen.update(np.unique(segment).tolist())
                if len(seen) > MAX_OBJECTS:
                    raise Damaged(path, "it has more values than an image has objects")
    except Damaged:
        raise
    except Exception as error:  # whatever a decoder may raise for broken input
        raise Damaged(path, "it is no TIFF that can be read") from error
    return len(seen - {0})


def roi_set(file: IO[bytes], path: str) -> int:
    """Closed regions in a set. Raises `Damaged`."""
    count = 0
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                with archive.open(info) as roi:
                    head = roi.read(ROI_TYPE + 1)
                if len(head) <= ROI_TYPE or head[:4] != b"Iout":
                    raise Damaged(path, f"{info.filename} in it is no ImageJ region")
                count += head[ROI_TYPE] not in LINES
    except BROKEN:
        raise Damaged(path, "it is no ZIP of regions") from None
    return count
