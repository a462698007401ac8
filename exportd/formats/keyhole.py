"""Polygons with holes as one ring, for formats that know no other."""

from __future__ import annotations

import numpy as np
import shapely

from exportd.core.dataset import Points
from exportd.core.geometry import Floats
from exportd.formats.clipping import ring_of

TOUCHING = 1e-6
"""Pixels by which rounding may part a hole from the ring that it touches."""


def keyhole(piece: shapely.Polygon) -> Points:
    """Outline and holes as one ring that covers the same, by even-odd and by non-zero rule.

    Each hole is joined by a horizontal cut from its leftmost vertex to the first edge on the left. Holes come from left
    to right, so what that edge belongs to is in the ring already, and no two cuts cross.
    """
    piece = shapely.orient_polygons(piece)
    ring = ring_of(piece.exterior)
    holes = [_from_leftmost(ring_of(hole)) for hole in piece.interiors]
    for hole in sorted(holes, key=lambda hole: (float(hole[0, 0]), float(hole[0, 1]))):
        edge, joint = _joint(ring, hole[0])
        ring = np.concatenate([ring[: edge + 1], joint, hole, hole[:1], joint, ring[edge + 1 :]])
    return ring


def _from_leftmost(ring: Points) -> Points:
    return np.roll(ring, -int(np.lexsort((ring[:, 1], ring[:, 0]))[0]), axis=0)


def _joint(ring: Points, point: Floats) -> tuple[int, Points]:
    """The edge that a ray from the point to the left meets first, or touches where it begins, and the place, (1, 2)."""
    begin, end = ring, np.roll(ring, -1, axis=0)
    x, y = point
    crossing = np.flatnonzero(((begin[:, 1] < y) & (end[:, 1] > y)) | ((begin[:, 1] > y) & (end[:, 1] < y)))
    touched = np.flatnonzero(begin[:, 1] == y)
    (x0, y0), (x1, y1) = begin[crossing].T, end[crossing].T
    edges = np.concatenate([crossing, touched])
    hits = np.concatenate([x0 + (y - y0) * (x1 - x0) / (y1 - y0), begin[touched, 0]])
    left = np.flatnonzero(hits <= x + TOUCHING)
    if not len(left):  # the hole touches the ring with this vertex, and rounding has parted them
        nearest = int(np.argmin(np.abs(ring - point).sum(axis=1)))
        return nearest, ring[nearest : nearest + 1]
    nearest = int(left[np.argmax(hits[left])])
    return int(edges[nearest]), np.array([[hits[nearest], y]])
