"""Measures of rings and lines, many at once: arrays in, arrays out, no loop over vertices in Python.

Lengths are pixels, areas square pixels. The definitions are those of SPEC appendix A, on the vertices as they are given.
`Rings` holds outlines of any number and length in one array; `Regions` adds which hole belongs to which outline. Each
measure is one function that returns a value per ring or region, so a table of many measures is a few array operations
per image. A value that does not exist is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from exportd.core.dataset import Points, Polygon

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
Shapes: TypeAlias = NDArray[np.object_]
"""Of shapely geometries, which has no types of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """Vertices of k rings (or open lines), one after the other; none is empty."""

    points: Points
    starts: Indices
    """Row of each ring's first vertex; shape (k,)."""

    @classmethod
    def of(cls, rings: Sequence[Points]) -> Rings:
        """The rings, joined in order."""
        if not rings:
            return cls(np.empty((0, 2)), np.empty(0, np.intp))
        counts = np.fromiter(map(len, rings), np.intp, len(rings))
        return cls(np.concatenate(rings), starts_of(counts))

    @property
    def counts(self) -> Indices:
        """Vertices of each ring."""
        return np.diff(self.starts, append=len(self.points))

    @property
    def ends(self) -> Indices:
        """Row of each ring's last vertex."""
        return self.starts + self.counts - 1

    def each(self) -> list[Points]:
        """The rings one by one, as views."""
        ends = self.ends + 1
        return [self.points[begin:end] for begin, end in zip(self.starts.tolist(), ends.tolist(), strict=True)]

    def next_points(self) -> Points:
        """For each vertex the one after it in its ring: row i of the result ends the edge that row i of `points` begins."""
        following = np.roll(self.points, -1, axis=0)
        following[self.ends] = self.points[self.starts]
        return following


def starts_of(counts: Indices) -> Indices:
    """Where each of several stretches begins, from their lengths."""
    return np.cumsum(counts) - counts


def sums(values: Floats, rings: Rings) -> Floats:
    """Sum over the rows of each ring."""
    return np.add.reduceat(values, rings.starts, axis=0) if len(rings.starts) else values[:0]


def edges(rings: Rings) -> tuple[Floats, Floats]:
    """Begin and end of each edge from the ring's own first vertex: products of far away coordinates lose digits."""
    origin = np.repeat(rings.points[rings.starts], rings.counts, axis=0)
    return rings.points - origin, rings.next_points() - origin


def cross_product(a: Floats, b: Floats) -> Floats:
    return a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]


def signed_areas(rings: Rings) -> Floats:
    """Shoelace formula: positive where the ring runs clockwise on the screen (y points down)."""
    return sums(cross_product(*edges(rings)), rings) / 2


def areas(rings: Rings) -> Floats:
    """Shoelace formula without the sign."""
    return np.abs(signed_areas(rings))


def perimeters(rings: Rings) -> Floats:
    """Lengths of the closed rings."""
    steps = rings.next_points() - rings.points
    return sums(np.hypot(steps[:, 0], steps[:, 1]), rings)


def lengths(lines: Rings) -> Floats:
    """Lengths of open lines: the way back from the last vertex to the first does not count."""
    steps = lines.next_points() - lines.points
    steps[lines.ends] = 0
    return sums(np.hypot(steps[:, 0], steps[:, 1]), lines)


def boxes(rings: Rings) -> Floats:
    """Bounding boxes: least x, least y, greatest x, greatest y; shape (k, 4)."""
    if not len(rings.starts):
        return np.empty((0, 4))
    low = np.minimum.reduceat(rings.points, rings.starts, axis=0)
    high = np.maximum.reduceat(rings.points, rings.starts, axis=0)
    return np.concatenate([low, high], axis=1)


def first_moments(rings: Rings) -> Floats:
    """Integrals of x and y over each ring's inside, as if it ran so that its area is positive; shape (k, 2).

    With edges from a to b: the sum of (a + b) (a x b) / 6, plus area times origin for the shift.
    """
    a, b = edges(rings)
    cross = cross_product(a, b)
    signed = sums(cross, rings) / 2
    local = sums((a + b) * cross[:, None], rings) / 6
    sign = np.where(signed < 0, -1.0, 1.0)
    moments: Floats = (local + rings.points[rings.starts] * signed[:, None]) * sign[:, None]
    return moments


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """k outlines and their holes: what the objects of an image cover."""

    outer: Rings
    holes: Rings
    owner: Indices
    """For each hole the outline that it is in."""

    @classmethod
    def of(cls, polygons: Sequence[Polygon]) -> Regions:
        """The polygons, in order."""
        owner = [i for i, polygon in enumerate(polygons) for _ in polygon.holes]
        return cls(
            Rings.of([polygon.points for polygon in polygons]),
            Rings.of([hole for polygon in polygons for hole in polygon.holes]),
            np.array(owner, np.intp),
        )

    def over_holes(self, values: Floats) -> Floats:
        """Per region the sum of a value that each hole has."""
        return np.bincount(self.owner, values, len(self.outer.starts)).astype(np.float64)


def region_areas(regions: Regions) -> Floats:
    """Outline minus holes; 0 where holes that overlap each other add up to more than the outline."""
    return np.maximum(areas(regions.outer) - regions.over_holes(areas(regions.holes)), 0)


def region_perimeters(regions: Regions) -> Floats:
    """Outline plus holes."""
    return perimeters(regions.outer) + regions.over_holes(perimeters(regions.holes))


def region_centroids(regions: Regions) -> Floats:
    """Centres of mass, holes subtracted; shape (k, 2). NaN where there is no area."""
    moments, holes = first_moments(regions.outer), first_moments(regions.holes)
    area = region_areas(regions)
    for axis in (0, 1):
        moments[:, axis] -= regions.over_holes(holes[:, axis])
    centroids = np.full_like(moments, np.nan)
    np.divide(moments, area[:, None], out=centroids, where=area[:, None] > 0)
    return centroids


def shapes(rings: Rings) -> Shapes:
    """Each ring as a valid shapely geometry that covers what the even-odd rule covers.

    A ring that crosses itself becomes several polygons.
    """
    which = np.repeat(np.arange(len(rings.starts)), rings.counts)
    found: Shapes = shapely.polygons(shapely.linearrings(rings.points, indices=which))
    for i in np.flatnonzero(~shapely.is_valid(found)):
        found[i] = polygonal(shapely.make_valid(found[i]))
    return found


def polygonal(geometry: shapely.Geometry) -> shapely.Geometry:
    """What has an area of a geometry that may hold lines and points as well."""
    return shapely.MultiPolygon(pieces(geometry))


def pieces(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """The polygons in a geometry, however deep."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return [part for part in parts if isinstance(part, shapely.Polygon) and part.area > 0]
