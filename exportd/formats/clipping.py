"""Polygons cut at the edge of their image, for formats that hold only what is inside."""

from __future__ import annotations

import numpy as np
import shapely

from exportd.core.dataset import Points, Polygon
from exportd.core.geometry import Rings, pieces, polygonal, shapes

SLIVER = 1e-6
"""Square pixels: a smaller piece is what rounding leaves where a cut runs along an edge."""


def is_inside(points: Points, width: int, height: int) -> bool:
    """Whether every vertex is in the image, its edges included."""
    return bool(points.min() >= 0 and (points.max(axis=0) <= (width, height)).all())


def is_simple(points: Points) -> bool:
    """Whether the ring does not cross or touch itself."""
    return bool(shapely.is_valid(shapely.Polygon(points)))


def cut_ring(points: Points, width: int, height: int) -> list[shapely.Polygon]:
    """What of a ring's inside (even-odd rule) is in the image, piece by piece, the largest first."""
    return _cut(shapes(Rings.of([points]))[0], width, height)


def cut_region(polygon: Polygon, width: int, height: int) -> list[shapely.Polygon]:
    """What of a polygon without its holes is in the image, piece by piece, the largest first."""
    return _cut(without_holes(polygon), width, height)


def without_holes(polygon: Polygon) -> shapely.Geometry:
    """What a polygon covers by the even-odd rule, minus the union of its holes; valid whatever they are."""
    (region,) = shapes(Rings.of([polygon.points]))
    if polygon.holes:
        region = shapely.difference(region, shapely.union_all(shapes(Rings.of(polygon.holes))))
    return region


def _cut(region: shapely.Geometry, width: int, height: int) -> list[shapely.Polygon]:
    inside = shapely.intersection(polygonal(region), shapely.box(0, 0, width, height))
    return sorted((p for p in pieces(inside) if p.area > SLIVER), key=lambda piece: -float(piece.area))


def ring_of(ring: shapely.LinearRing) -> Points:
    """Vertices of a shapely ring without the closing one."""
    points: Points = np.ascontiguousarray(shapely.get_coordinates(ring)[:-1])
    return points
