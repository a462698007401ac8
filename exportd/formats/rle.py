"""Polygons to run lengths by the pixel-centre rule, straight from the vertices: no raster is ever made.

A pixel belongs to a ring if its centre does, by the even-odd rule; a centre on the outline belongs to what lies right of
or below it. The form is that of COCO: column by column, lengths of background and foreground in turn, beginning with
background (0 if the first pixel is foreground), and for the compressed string the code of the reference implementation
(`rleToString` in maskApi.c of cocoapi).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from exportd.core.dataset import Points
from exportd.core.geometry import Indices, starts_of

MAX_CROSSINGS = 1 << 21
"""Crossings of edges and columns that are computed at once; bounds memory for rings of very many long edges."""


def run_lengths(outer: Points, holes: Sequence[Points], width: int, height: int) -> Indices:
    """Runs of the ring without the holes, cut at the edge of the image; they add up to its pixels."""
    places = changes(outer, holes, width, height)
    bounds = np.concatenate([[0], places, [width * height]])
    runs: Indices = np.diff(bounds)
    return runs[:-1] if len(places) and not runs[-1] else runs


def changes(outer: Points, holes: Sequence[Points], width: int, height: int, top: int = 0) -> Indices:
    """Where the raster of the ring without the holes changes, as ascending places; even in number.

    It is that of the `height` rows from `top` on, as if they were the image.
    """
    return _without(_changes(outer, width, height, top), [_changes(hole, width, height, top) for hole in holes])


def compressed(runs: Indices) -> str:
    """The runs as text: five bits a character, least significant first; from the fourth on as difference to the
    second last, so that columns of one object that are much alike are short."""
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    characters = np.zeros((len(values), 13), np.uint8)  # 13 times 5 bits hold any 64-bit number
    going = np.ones(len(values), bool)
    for place in range(13):
        digits = values & 0x1F
        values = values >> 5  # keeps the sign
        last = np.where(digits & 0x10, values == -1, values == 0)
        characters[going, place] = ((digits | np.where(last, 0, 0x20)) + 48)[going]
        going &= ~last
        if not going.any():
            break
    return characters[characters > 0].tobytes().decode("ascii")


class Window(NamedTuple):
    """Runs of a raster's bounding box, row by row, beginning with background."""

    left: int
    top: int
    width: int
    height: int
    runs: Indices


def window(runs: Indices, height: int) -> Window | None:
    """The same pixels as `run_lengths` found in an image of this height, row by row in their box; None without any.

    A pixel begins or ends a run of its row where it differs from the one on its left: that is where the places at which
    the columns change and the same places a column further on do not cancel out.
    """
    changes = np.cumsum(runs)[: len(runs) // 2 * 2]
    if not len(changes):
        return None
    begins, ends = odd(np.concatenate([changes, changes + height])).reshape(-1, 2).T
    counts = ends - begins
    places = np.repeat(begins - starts_of(counts), counts) + np.arange(counts.sum())
    column, row = np.divmod(places, height)
    left, top = int(column.min()), int(row.min())
    width, rows = int(column.max()) - left, int(row.max()) - top + 1
    # What ends with one row and begins again with the next is one run.
    bounds = odd((row - top) * width + column - left)
    found = np.diff(np.concatenate([[0], bounds, [width * rows]]))
    return Window(left, top, width, rows, found if found[-1] else found[:-1])


def _changes(ring: Points, width: int, height: int, top: int) -> Indices:
    """Where one ring's raster changes.

    Each edge that crosses the vertical line through a column's centres changes all pixels below the crossing. Places
    that are hit an even number of times cancel out: that is the even-odd rule, and it joins runs over columns.
    """
    edges = Edges.of(ring, np.roll(ring, -1, axis=0), width)
    if edges.counts.sum() <= MAX_CROSSINGS:
        return odd(crossings(edges, height, top))
    step = max(1, MAX_CROSSINGS // len(ring))
    begin, end = int(edges.first.min()), int(edges.last.max())
    parts = [edges.between(column, column + step) for column in range(begin, end, step)]
    # The last place of one stretch is the first of the next.
    return odd(np.concatenate([odd(crossings(part, height, top)) for part in parts]))


class Edges(NamedTuple):
    """Edges from left to right, so that one that two rings share has the same crossings in both; and their columns."""

    left: Points
    right: Points
    first: Indices
    last: Indices
    """The column after the last one whose centre the edge crosses."""

    @classmethod
    def of(cls, points: Points, following: Points, width: int) -> Edges:
        """From each point to the one that follows it, in an image of this width."""
        forward = (points[:, 0] < following[:, 0])[:, None]
        left, right = np.where(forward, points, following), np.where(forward, following, points)
        first, last = (np.clip(np.ceil(end[:, 0] - 0.5), 0, width).astype(np.intp) for end in (left, right))
        return cls(left, right, first, last)

    @property
    def counts(self) -> Indices:
        """Columns of each edge."""
        found: Indices = np.maximum(self.last - self.first, 0)
        return found

    def between(self, begin: int, end: int) -> Edges:
        """The same in the columns from `begin` up to `end`, exclusive."""
        return self._replace(first=np.maximum(self.first, begin), last=np.minimum(self.last, end))


def odd(places: Indices) -> Indices:
    """Those that are there an odd number of times, once and ascending."""
    found = np.sort(places)
    if not len(found):
        return found
    begins = np.flatnonzero(np.concatenate([[True], found[1:] != found[:-1]]))
    left: Indices = found[begins[np.diff(begins, append=len(found)) % 2 == 1]]
    return left


def crossings(edges: Edges, height: int, top: int = 0) -> Indices:
    """Places of the first pixels below each edge in its columns, in the `height` rows from `top` on."""
    counts = edges.counts
    edge = np.repeat(np.arange(len(counts)), counts)
    column = np.repeat(edges.first - starts_of(counts), counts) + np.arange(len(edge))
    (x0, y0), (x1, y1) = edges.left[edge].T, edges.right[edge].T
    y = y0 + (column + 0.5 - x0) * (y1 - y0) / (x1 - x0)
    row = np.clip(np.ceil(y - 0.5), top, top + height).astype(np.intp) - top
    places: Indices = column * height + row
    return places


def _without(outer: Indices, holes: Sequence[Indices]) -> Indices:
    """Changes of the outer raster minus the union of the others; holes may overlap."""
    if not (holes and len(outer)):  # without a pixel of its own there is nothing to take away
        return outer
    inner = np.concatenate(holes)
    places = np.concatenate([outer, inner])
    # +1 where a run begins, -1 where it ends; each list alternates and is of even length.
    steps = np.resize([1, -1], len(places))
    is_outer = np.arange(len(places)) < len(outer)
    order = np.argsort(places, kind="stable")
    places = places[order]
    inside_outer = np.cumsum(np.where(is_outer, steps, 0)[order]) > 0
    inside_hole = np.cumsum(np.where(is_outer, 0, steps)[order]) > 0
    settled = np.append(places[1:] != places[:-1], True)  # several steps at one place count together
    state = (inside_outer & ~inside_hole)[settled]
    changed = state != np.append(False, state[:-1])
    changes: Indices = places[settled][changed]
    return changes
