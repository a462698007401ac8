"""Pixels of many objects at once, as runs.

The rule and the arithmetic are those of `rle`, or a pixel more or less would differ. Places are those of `rle`, too: column
by column, so the pixel in column x and row y of a picture (or of a strip of it) of `height` rows is at x * height + y. No
array is as large as the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exportd.core.dataset import Polygon
from exportd.core.geometry import Indices, Rings, starts_of
from exportd.formats.rle import Edges, changes, crossings, odd

TOGETHER = 1 << 15
"""Crossings of edges and columns that are looked at in one step, unless one object has more: some 5 ms."""

MOST = 500
"""Objects in one step."""


class Runs(NamedTuple):
    """Pixels from `begins` up to `ends`, exclusive, ascending for each object; `owners` ascend, and count from 0."""

    begins: Indices
    ends: Indices
    owners: Indices

    @property
    def lengths(self) -> Indices:
        """Pixels of each run."""
        return self.ends - self.begins

    def of(self, marked: NDArray[np.bool_]) -> Runs:
        """Those of the owners that are marked; shape (owners,)."""
        chosen = marked[self.owners]
        return Runs(self.begins[chosen], self.ends[chosen], self.owners[chosen])

    def places(self) -> Indices:
        """Of all pixels, run by run."""
        lengths = self.lengths
        found: Indices = np.repeat(self.begins - starts_of(lengths), lengths) + np.arange(lengths.sum())
        return found


def stretches(polygons: Sequence[Polygon], width: int) -> Iterator[range]:
    """The polygons in stretches of bounded work, in order, as their places."""
    for first in range(0, len(polygons), MOST):
        rings = Rings.of([polygon.points for polygon in polygons[first : first + MOST]])
        edges = Edges.of(rings.points, rings.next_points(), width)
        work = np.add.reduceat(edges.counts, rings.starts) + rings.counts
        begin, total = first, 0
        for end, one in enumerate(work.tolist(), start=first):
            if total and total + one > TOGETHER:
                yield range(begin, end)
                begin, total = end, 0
            total += one
        yield range(begin, first + len(work))


def runs(polygons: Sequence[Polygon], width: int, height: int, top: int = 0) -> Runs:
    """Pixels of the polygons without their holes in the `height` rows from `top` on, cut at the edges."""
    pierced = [(i, polygon) for i, polygon in enumerate(polygons) if polygon.holes]
    found = [_whole(polygons, width, height, top)] if len(pierced) < len(polygons) else []
    for i, polygon in pierced:
        begins, ends = changes(polygon.points, polygon.holes, width, height, top).reshape(-1, 2).T
        found.append(Runs(begins, ends, np.full(len(begins), i)))
    if len(found) == 1:
        return found[0]
    joined = Runs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    order = np.argsort(joined.owners, kind="stable")
    return Runs(*(part[order] for part in joined))


def _whole(polygons: Sequence[Polygon], width: int, height: int, top: int) -> Runs:
    """Of those that have no holes."""
    which = np.array([i for i, polygon in enumerate(polygons) if not polygon.holes], np.intp)
    rings = Rings.of([polygons[i].points for i in which])
    edges = Edges.of(rings.points, rings.next_points(), width)
    owner = np.repeat(np.repeat(np.arange(len(which)), rings.counts), edges.counts)
    # As if each ring had a picture of its own, one behind the other, with a place for the end of each.
    stride = width * height + 1
    begins, ends = odd(owner * stride + crossings(edges, height, top)).reshape(-1, 2).T
    owners = begins // stride
    return Runs(begins - owners * stride, ends - owners * stride, which[owners])
