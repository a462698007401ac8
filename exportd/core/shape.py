"""What SPEC appendix A measures of an object, for all objects of an image at once: a `Regions` in, arrays out.

Lengths are pixels, areas square pixels, angles degrees. A value that does not exist is NaN: everything that needs an
area where the shoelace sum has none (a figure of eight), axes where second moments are negative (a ring that crosses
itself can run around some of it backwards). Rings that cross themselves are measured as they are given.

Ratios that geometry bounds by 1 are cut there, because rounding may pass it; so is a ring that runs around the same
place twice, whose shoelace sum is larger than its hull.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from exportd.core.geometry import (
    Floats,
    Indices,
    Regions,
    Rings,
    areas,
    boxes,
    cross_product,
    edges,
    perimeters,
    region_areas,
    region_centroids,
    region_perimeters,
    signed_areas,
    starts_of,
    sums,
)

NOTHING = 1e-12
"""Pixels. No coordinate means so little."""

NO_AREA = 1e-12
"""Share of its hull: an object with less has no area but what rounding leaves."""

SHORT = 1e-8
"""Share of its hull's size: a shorter edge has a direction that rounding has made, and is no edge for calipers."""

TIE = 1e-9
"""Relative difference below which two diameters, or two axes, are equally long: rounding must not choose."""


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """A value per region in each array; the names are those of SPEC appendix A, `hull` is *H*."""

    area: Floats
    perimeter: Floats
    perimeter_with_holes: Floats
    equivalent_diameter: Floats
    circularity: Floats
    feret_max: Floats
    feret_min: Floats
    feret_orthogonal: Floats
    feret_ratio: Floats
    major_axis: Floats
    minor_axis: Floats
    width: Floats
    height: Floats
    extent: Floats
    compactness: Floats
    convexity: Floats
    solidity: Floats
    sphericity: Floats
    centroid_x: Floats
    centroid_y: Floats
    orientation: Floats
    """Of the major axis, degrees from the x axis, counter-clockwise as seen (y points down); 0 <= angle < 180."""
    eccentricity: Floats
    hull_area: Floats


def measures(regions: Regions) -> Measures:
    """All of them. Takes time by the vertices times the logarithm of those on the hull."""
    hull = hulls(regions.outer)
    hull_area = _existing(areas(hull))
    area = region_areas(regions)
    area = np.where(area > NO_AREA * hull_area, area, np.nan)
    perimeter, both = perimeters(regions.outer), region_perimeters(regions)
    box = boxes(regions.outer)
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    feret = ferets(hull)
    centre = region_centroids(regions)
    centre[np.isnan(area)] = np.nan
    axes = _axes(regions, centre, area)
    diameter = np.sqrt(4 * area / np.pi)
    roundness = 4 * np.pi * area
    return Measures(
        area=area,
        perimeter=perimeter,
        perimeter_with_holes=both,
        equivalent_diameter=diameter,
        circularity=_at_most_1(_ratio(roundness, both**2)),
        feret_max=feret.greatest,
        feret_min=feret.least,
        feret_orthogonal=feret.orthogonal,
        feret_ratio=_ratio(feret.greatest, feret.least),
        major_axis=axes.major,
        minor_axis=axes.minor,
        width=width,
        height=height,
        extent=_at_most_1(_ratio(area, width * height)),
        compactness=_ratio(both**2, roundness),
        convexity=_at_most_1(_ratio(perimeters(hull), perimeter)),
        solidity=_at_most_1(_ratio(area, hull_area)),
        sphericity=_at_most_1(_ratio(np.pi * diameter, both)),
        centroid_x=centre[:, 0],
        centroid_y=centre[:, 1],
        orientation=axes.orientation,
        eccentricity=axes.eccentricity,
        hull_area=hull_area,
    )


def _existing(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def _ratio(dividend: Floats, divisor: Floats) -> Floats:
    return dividend / _existing(divisor)


def _at_most_1(values: Floats) -> Floats:
    return np.minimum(values, 1)  # NaN stays NaN


# --- the hull -----------------------------------------------------------------------------------------------------------


def hulls(rings: Rings) -> Rings:
    """The convex hull of each ring, so directed that its signed area is positive; two vertices for a ring on a line."""
    which = np.repeat(np.arange(len(rings.starts)), rings.counts)
    # Products of the very least numbers are 0, which leads GEOS astray; beside 0 they are nothing.
    points = np.where(np.abs(rings.points) < NOTHING, 0, rings.points)
    found = shapely.convex_hull(shapely.linearrings(points, indices=which))
    points, of = shapely.get_coordinates(found, return_index=True)
    last = np.append(of[1:] != of[:-1], True) if len(of) else of.astype(bool)
    closing = last & (shapely.get_dimensions(found) == 2)[of]
    points, of = points[~closing], of[~closing]
    hull = Rings(points, starts_of(np.bincount(of, minlength=len(found))))
    backwards = np.repeat(signed_areas(hull) < 0, hull.counts)
    mirrored = np.repeat(hull.starts + hull.ends, hull.counts) - np.arange(len(points))
    return Rings(points[np.where(backwards, mirrored, np.arange(len(points)))], hull.starts)


@dataclass(frozen=True, slots=True, eq=False)
class Ferets:
    """Caliper widths of hulls; NaN where the hull has no area."""

    greatest: Floats
    least: Floats
    orthogonal: Floats


def ferets(hull: Rings) -> Ferets:
    """Exact, by rotating calipers: each edge is laid against one jaw, and the vertex that the other jaw touches is found
    by its direction.

    The least width is that of one of these positions, and every pair of vertices that can be farthest apart is an end of
    an edge and the vertex opposite. Of several that are equally long the one with the least angle to the x axis (0 up to
    180 degrees, clockwise as seen) gives the direction for the orthogonal width.
    """
    if not len(hull.starts):
        return Ferets(*np.empty((3, 0)))
    flat = ~(areas(hull) > 0)
    hull = _without_short_edges(hull)
    begin, end = edges(hull)
    along = end - begin
    opposite = _opposite(along, hull)
    # Two parallel edges, or rounding, may hide that a neighbour is farther away.
    candidates = begin[np.stack([_step(hull, opposite, -1), opposite, _step(hull, opposite, 1)])]
    across = along[:, 0] * (candidates[:, :, 1] - begin[:, 1]) - along[:, 1] * (candidates[:, :, 0] - begin[:, 0])
    heights = _ratio(across.max(axis=0), np.hypot(along[:, 0], along[:, 1]))
    pairs = np.concatenate([candidates - begin, candidates - end])
    distances = np.hypot(pairs[:, :, 0], pairs[:, :, 1])
    greatest = np.maximum.reduceat(distances.max(axis=0), hull.starts)
    longest = distances >= np.repeat(greatest, hull.counts) * (1 - TIE)
    angles = np.mod(np.arctan2(pairs[:, :, 1], pairs[:, :, 0]), np.pi)
    angles = np.where(angles > np.pi - TIE, angles - np.pi, angles)  # rounding has turned it under the axis
    chosen = np.minimum.reduceat(np.where(longest, angles, np.inf).min(axis=0), hull.starts)
    turned = np.repeat(chosen, hull.counts)
    shadow = begin[:, 1] * np.cos(turned) - begin[:, 0] * np.sin(turned)
    orthogonal = np.maximum.reduceat(shadow, hull.starts) - np.minimum.reduceat(shadow, hull.starts)
    least = np.minimum.reduceat(heights, hull.starts)
    return Ferets(*(np.where(flat, np.nan, found) for found in (greatest, least, orthogonal)))


def _without_short_edges(hull: Rings) -> Rings:
    begin, end = edges(hull)
    box = boxes(hull)
    size = np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    kept = np.hypot(*(end - begin).T) >= SHORT * np.repeat(size, hull.counts)
    return Rings(hull.points[kept], starts_of(np.add.reduceat(kept, hull.starts, dtype=np.intp)))


def _opposite(along: Floats, hull: Rings) -> Indices:
    """For each edge the vertex farthest from it: where the hull's edges have turned by half a circle."""
    turn = 2 * np.pi
    # Directions of one hull ascend but for one step; the place of the hull, times more than a turn, keeps hulls apart.
    apart = np.repeat(np.arange(len(hull.starts)), hull.counts) * 8.0
    directions = np.mod(np.arctan2(along[:, 1], along[:, 0]), turn)
    keys = apart + directions
    order = np.argsort(keys, kind="stable")
    places = np.searchsorted(keys[order], apart + np.mod(directions + np.pi, turn))
    past = places > np.repeat(hull.ends, hull.counts)
    found: Indices = order[np.where(past, np.repeat(hull.starts, hull.counts), places)]
    return found


def _step(hull: Rings, vertices: Indices, by: int) -> Indices:
    """The vertices so many places further in the same hull; `vertices` has one per vertex of that hull."""
    starts, counts = (np.repeat(values, hull.counts) for values in (hull.starts, hull.counts))
    stepped: Indices = starts + (vertices - starts + by) % counts
    return stepped


# --- moments ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """Of the ellipse with the region's second central moments."""

    major: Floats
    minor: Floats
    orientation: Floats
    eccentricity: Floats


def _axes(regions: Regions, centre: Floats, area: Floats) -> Axes:
    """Full lengths of the axes: 4 times the roots of the eigenvalues of the covariance; a circle of diameter d has d."""
    outer, holes = moments(regions.outer, centre), moments(regions.holes, centre[regions.owner])
    x, y, xx, yy, xy = (
        (of_outer - regions.over_holes(of_holes)) / area for of_outer, of_holes in zip(outer.T, holes.T, strict=True)
    )
    xx, yy, xy = xx - x * x, yy - y * y, xy - x * y  # the centre is known but for rounding
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    larger, smaller = middle + half, middle - half
    exists = smaller >= 0
    larger, smaller = np.where(exists, larger, np.nan), np.where(exists, smaller, np.nan)
    # Clockwise as seen, as y points down, hence the minus. A circle or square has no direction.
    angle = np.mod(-np.degrees(np.arctan2(2 * xy, xx - yy)) / 2, 180)
    angle = np.where(angle >= 180, 0, angle)
    return Axes(
        major=4 * np.sqrt(larger),
        minor=4 * np.sqrt(smaller),
        orientation=np.where(half > TIE * larger, angle, np.nan),
        eccentricity=np.sqrt(1 - _ratio(smaller, larger)),
    )


def moments(rings: Rings, origins: Floats) -> Floats:
    """Integrals of x, y, x², y² and xy over each ring's inside, measured from the ring's own origin; shape (k, 5).

    As if the ring ran so that its area is positive. With edges from a to b, the sums of (a x b) times (a + b) / 6,
    (a² + ab + b²) / 12 and, for xy, (2 ax ay + ax by + bx ay + 2 bx by) / 24.
    """
    shift = np.repeat(origins, rings.counts, axis=0)
    a, b = rings.points - shift, rings.next_points() - shift
    (ax, ay), (bx, by) = a.T, b.T
    terms = np.stack(
        [
            (ax + bx) / 6,
            (ay + by) / 6,
            (ax * ax + ax * bx + bx * bx) / 12,
            (ay * ay + ay * by + by * by) / 12,
            (2 * (ax * ay + bx * by) + ax * by + bx * ay) / 24,
        ],
        axis=1,
    )
    signs = np.where(signed_areas(rings) < 0, -1.0, 1.0)
    found: Floats = sums(terms * cross_product(a, b)[:, None], rings) * signs[:, None]
    return found
