"""What polygons cover, whole: valid shapes with true holes, for formats that can hold what lies beyond the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely

from exportd.core.dataset import Points, Polygon
from exportd.core.geometry import Shapes, pieces
from exportd.formats.clipping import without_holes

BATCH = 100
"""Objects that become one piece of a file, at most: some 50 KiB."""

BATCH_VERTICES = 20_000
"""Vertices after which a stretch ends: some 20 ms of work."""


def stretches(polygons: Sequence[Polygon]) -> Iterator[Sequence[Polygon]]:
    """The polygons in stretches of bounded work, in order."""
    begin, vertices = 0, 0
    for end, polygon in enumerate(polygons, start=1):
        vertices += len(polygon.points) + sum(map(len, polygon.holes))
        if end - begin == BATCH or vertices >= BATCH_VERTICES:
            yield polygons[begin:end]
            begin, vertices = end, 0
    if begin < len(polygons):
        yield polygons[begin:]


def regions(polygons: Sequence[Polygon]) -> Iterator[list[shapely.Polygon]]:
    """Each polygon without its holes as valid shapes that share no area; none where the holes cover all of it.

    A polygon that is sound stays as it is, vertex by vertex; only one that crosses itself, or whose holes touch or leave
    the outline, is made anew, and may become several pieces. That takes time, and is done when its turn comes.
    """
    if not polygons:
        return
    sound = _with_holes(polygons)
    for polygon, shape, is_valid in zip(polygons, sound, shapely.is_valid(sound).tolist(), strict=True):
        yield [shape] if is_valid else pieces(without_holes(polygon))


def _with_holes(polygons: Sequence[Polygon]) -> Shapes:
    outlines = _rings([polygon.points for polygon in polygons])
    found: Shapes = shapely.polygons(outlines)
    for i, polygon in enumerate(polygons):
        if polygon.holes:
            found[i] = shapely.Polygon(outlines[i], list(_rings(polygon.holes)))
    return found


def _rings(rings: Sequence[Points]) -> Shapes:
    counts = np.fromiter(map(len, rings), np.intp, len(rings))
    which = np.repeat(np.arange(len(rings)), counts)
    found: Shapes = shapely.linearrings(np.concatenate(rings), indices=which)
    return found
