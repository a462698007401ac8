"""One ring or line -> its measures, in pixels. Arrays of shape (n, 2); a ring has no closing point.

Everything is computed from the ring's own first point, so that a small object far from the origin loses no digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exportd.core.dataset import Points


def signed_area(ring: Points) -> float:
    """Shoelace formula, px²; positive when the ring runs clockwise on the screen (y down)."""
    x, y = (ring - ring[0]).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def area(ring: Points, holes: Sequence[Points] = ()) -> float:
    """Area of the ring less that of its holes, px²."""
    return abs(signed_area(ring)) - sum(abs(signed_area(hole)) for hole in holes)


def perimeter(ring: Points) -> float:
    """Length of the closed ring, px."""
    return length(np.vstack((ring, ring[:1])))


def length(line: Points) -> float:
    """Length of an open line, px."""
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def bounding_box(points: Points) -> tuple[float, float, float, float]:
    """(x, y, width, height), px."""
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def centroid(ring: Points, holes: Sequence[Points] = ()) -> tuple[float, float] | None:
    """Centre of gravity of the ring less its holes, px; None where the area is zero."""
    origin = ring[0]
    total, moment = 0.0, np.zeros(2)
    for sign, part in ((1.0, ring), *((-1.0, hole) for hole in holes)):
        x, y = (part - origin).T
        cross = x * np.roll(y, -1) - np.roll(x, -1) * y
        # An outline may run either way round; a hole takes away whichever way it runs.
        turn = sign if cross.sum() >= 0 else -sign
        total += turn * cross.sum() / 2
        moment += turn * np.array([np.dot(x + np.roll(x, -1), cross), np.dot(y + np.roll(y, -1), cross)]) / 6
    if total <= 0:
        return None
    x, y = origin + moment / total
    return float(x), float(y)
