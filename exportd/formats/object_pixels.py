"""The pixels of an object by the rule of its COCO mask, some at a time: an object may have a hundred million."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exportd.core.dataset import Polygon
from exportd.core.geometry import Indices, starts_of
from exportd.formats.rle import run_lengths

STEP = 1 << 16
"""Pixels in one step; bounds memory and the time between two looks for a cancel."""


class ObjectPixels:
    """The pixels of one polygon without its holes, cut at the edge of the image; held as runs."""

    def __init__(self, polygon: Polygon, width: int, height: int) -> None:
        runs = run_lengths(polygon.points, polygon.holes, width, height)
        bounds = np.cumsum(runs)[: len(runs) // 2 * 2].reshape(-1, 2)
        lengths = bounds[:, 1] - bounds[:, 0]
        self.runs = bounds
        """First pixel of each run and the first after it, in column-major order: column times height plus row."""
        self._begins, self._before, self._height = bounds[:, 0], starts_of(lengths), height
        self._columns = self._begins // height
        self._straight = bool((self._begins + lengths <= (self._columns + 1) * height).all())
        """No run goes on in the next column: only where an object touches both edges does one."""
        self.count = int(lengths.sum())

    def part(self, begin: int, end: int) -> tuple[Indices, Indices]:
        """Rows and columns from the `begin`-th pixel up to the `end`-th, exclusive."""
        end = min(end, self.count)
        first, last = np.searchsorted(self._before, [begin, end])
        if first == len(self._before) or self._before[first] > begin:
            first -= 1
        here = slice(first, last)
        counts = np.diff(np.append(np.maximum(self._before[here], begin), end))
        place = np.repeat(self._begins[here] - self._before[here], counts) + np.arange(begin, end)
        if not self._straight:
            columns, rows = np.divmod(place, self._height)
            return rows, columns
        columns = np.repeat(self._columns[here], counts)
        return place - columns * self._height, columns

    def steps(self) -> Iterator[tuple[Indices, Indices]]:
        """All of them, at most `STEP` at a time."""
        for begin in range(0, self.count, STEP):
            yield self.part(begin, begin + STEP)
