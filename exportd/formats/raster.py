"""Pixels of objects, for pictures that are made strip by strip.

The rule and the arithmetic are those of `rle`, or a pixel more or less would differ.
Places are those of `rle`: column by column, so the pixel in column x and row y of a picture of `height` rows is at
x * height + y. No array is as large as the picture.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from exportd.core.geometry import Indices, Rings, starts_of
from exportd.formats.rle import crossings, odd

Mask: TypeAlias = NDArray[np.bool_]
Span: TypeAlias = tuple[int, int]
"""Begin and end, exclusive."""


def mask(changes: Indices, height: int, columns: Span, rows: Span) -> Mask:
    """A part of one object's raster, which changes at these ascending places; shape (rows, columns).

    All of its columns must be among those that are asked for.
    """
    found = np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.uint8)
    found[0] = np.searchsorted(changes, np.arange(*columns) * height + rows[0], side="right") % 2
    column, row = np.divmod(changes, height)
    within = (row > rows[0]) & (row < rows[1])
    found[row[within] - rows[0], column[within] - columns[0]] = 1
    return np.bitwise_xor.accumulate(found, axis=0).view(np.bool_)


def pixels(rings: Rings, width: int, height: int) -> tuple[Indices, Indices]:
    """Place of each pixel of each ring, and the index of the ring; for small rings, some hundred at once."""
    following = rings.next_points()
    forward = (rings.points[:, 0] < following[:, 0])[:, None]
    left, right = np.where(forward, rings.points, following), np.where(forward, following, rings.points)
    first, last = (np.clip(np.ceil(end[:, 0] - 0.5), 0, width).astype(np.intp) for end in (left, right))
    owner = np.repeat(np.repeat(np.arange(len(rings.starts)), rings.counts), last - first)
    # As if each ring had a picture of its own, one behind the other, with a place for the end of each.
    stride = width * height + 1
    changes = odd(owner * stride + crossings(left, right, first, last, height))
    begin, lengths = changes[::2], changes[1::2] - changes[::2]
    owner = np.repeat(begin // stride, lengths)
    place: Indices = np.repeat(begin - starts_of(lengths), lengths) + np.arange(len(owner)) - owner * stride
    return place, owner
