"""Where the numbers of objects stand on an overlay, and how large they are.

A number stands in its object: at the centre of mass of a round one, else in the middle of the largest circle that fits in
(so also in a crescent and beside a hole), and not on a smaller object that lies in it. It shrinks until it fits, down to
what can be read; an object that is smaller still has it beside, where the fewest other things are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from exportd.core.dataset import Points, Polygon
from exportd.core.geometry import Floats, Regions, Rings, Shapes, boxes, polygonal, shapes, starts_of
from exportd.formats.drawing import CAP_HEIGHT

LEGIBLE = 9.0
"""Font size in pixels below which digits run together."""

OVERFLOW = 0.75
"""Share of the legible size that must fit into an object; with less, its number stands beside it."""

ROOM = 0.8
"""Of the largest circle in an object that a number may take: the object should be seen, too."""

ROUND = 0.7
"""Radius of the circle about the centre of mass, to that of a disc of the same area, in objects that count as round."""

STEP = 0.5
"""Font sizes are multiples of it, so that few differ."""

HALO = 0.11
"""Width of the rim around the letters, as a share of the font size."""

BATCH = 400
"""Objects between two places to look for a cancel."""

MAX_CELLS = 1 << 22
"""Of the map of what is taken: 4 MiB, whatever the picture's size."""

FAR = 1e6
"""Cells from the map that a line's vertex may lie: beyond it, fixed-point numbers overflow."""

FINE = 0.25
"""Pixels. The search for a circle takes long in a sliver, in which nothing would fit."""

MAX_VERTICES = 1000
"""Of a ring whose middle is looked for."""

MAX_INSIDE = 200
"""Smaller objects that a number avoids."""


@dataclass(frozen=True, slots=True)
class Badge:
    """A text around its centre, `size` pixels high; with a line to `target` where it stands far off."""

    text: str
    x: float
    y: float
    size: float
    width: float
    """Of the text in pixels."""
    target: tuple[float, float] | None = None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """What it covers, rim included: left, top, right, bottom."""
        rim = HALO * self.size
        half = CAP_HEIGHT * self.size / 2 + rim
        return self.x - self.width / 2 - rim, self.y - half, self.x + self.width / 2 + rim, self.y + half


Pauses = Generator[bytes, None, list[Badge]]
"""Empty bytes at the places to look for a cancel; the badges are what it returns."""


@dataclass(frozen=True, slots=True, eq=False)
class _Spots:
    """Middle and radius of a circle in each object; NaN where nothing of the object is in the picture."""

    centres: Points
    radii: Floats


def place_numbers(polygons: Sequence[Polygon], digit_width: float, font_size: float, paper: Paper) -> Pauses:
    """A badge with its number for each polygon of which something is in the picture; `paper` is marked."""
    regions = np.empty(len(polygons), object)
    spots = _Spots(np.full((len(polygons), 2), np.nan), np.full(len(polygons), np.nan))
    for start in range(0, len(polygons), BATCH):
        rows = np.arange(start, min(start + BATCH, len(polygons)))
        regions[rows] = _regions(polygons[start : start + BATCH], paper)
        _find(regions, rows, spots)
        yield b""
    widths = np.array([digit_width * len(str(polygon.number)) for polygon in polygons])
    least = min(LEGIBLE, font_size)
    roomy = _sizes(spots.radii, widths, font_size) >= OVERFLOW * least
    yield from _off_smaller(regions, spots, roomy)
    sizes = _sizes(spots.radii, widths, font_size)
    beside = sizes < OVERFLOW * least
    extents = boxes(Rings.of([polygon.points for polygon in polygons]))
    badges: list[Badge] = []
    for i in np.flatnonzero(np.isfinite(sizes)).tolist():
        if beside[i] or sizes[i] < font_size:
            paper.mark(*extents[i].tolist())
        if not beside[i]:
            size = max(least, float(sizes[i] // STEP * STEP))
            x, y = spots.centres[i].tolist()
            badges.append(paper.keep(Badge(str(polygons[i].number), x, y, size, float(widths[i]) * size)))
            paper.mark(*badges[-1].box)
        if i % BATCH == 0:
            yield b""
    for i in np.flatnonzero(beside).tolist():
        badges.append(
            paper.beside(str(polygons[i].number), float(widths[i]) * least, least, tuple(extents[i].tolist()))
        )
        if i % BATCH == 0:
            yield b""
    return badges


def _sizes(radii: Floats, widths: Floats, font_size: float) -> Floats:
    """Font sizes at which the texts fit into circles, at most `font_size`."""
    return np.minimum(ROOM * radii / (np.hypot(widths, CAP_HEIGHT) / 2), font_size)


# --- the middle of an object ----------------------------------------------------------------------------------------------


@np.errstate(all="ignore")  # coordinates of 1e-180 are numbers, too: that their squares are none is no fault
def _regions(polygons: Sequence[Polygon], paper: Paper) -> Shapes:
    """Of each polygon what is in the picture, without its holes."""
    rings = Regions.of(polygons)
    found = shapes(_coarse(rings.outer))
    holes = shapes(_coarse(rings.holes))
    for i in np.unique(rings.owner).tolist():
        found[i] = shapely.difference(found[i], shapely.union_all(holes[rings.owner == i]))
    extents = boxes(rings.outer)
    outside = (extents[:, :2] < 0).any(axis=1) | (extents[:, 2:] > (paper.width, paper.height)).any(axis=1)
    found[outside] = shapely.intersection(found[outside], shapely.box(0, 0, paper.width, paper.height))
    return found


def _coarse(rings: Rings) -> Rings:
    """Rings of very many vertices with some of them: quick, and good enough to find the middle."""
    every = -(-rings.counts // MAX_VERTICES)
    place = np.arange(len(rings.points)) - np.repeat(rings.starts, rings.counts)
    keep = place % np.repeat(every, rings.counts) == 0
    return Rings(rings.points[keep], starts_of(-(-rings.counts // every)))


@np.errstate(all="ignore")
def _find(regions: Shapes, rows: NDArray[np.intp], spots: _Spots) -> None:
    """Fills in the spots of some regions. Circles are exact to a twentieth of the object's width: that cannot be seen."""
    area = shapely.area(regions[rows])
    rows, area = rows[area > 0], area[area > 0]
    found = regions[rows]
    middle = shapely.centroid(found)
    within = np.where(shapely.intersects(found, middle), shapely.distance(shapely.boundary(found), middle), 0)
    radii = np.nan_to_num(within, posinf=0)
    odd = radii < ROUND * np.sqrt(area / np.pi)
    if odd.any():
        middle[odd], radii[odd] = _largest_circles(found[odd], np.maximum(np.sqrt(area[odd]) / 20, FINE))
    spots.centres[rows] = shapely.get_coordinates(middle)
    spots.radii[rows] = radii


def _largest_circles(regions: Shapes, tolerances: Floats) -> tuple[Shapes, Floats]:
    """Middle and radius of the largest circle in each. In what is nearly a line there is none: radius 0."""
    try:
        circles = shapely.maximum_inscribed_circle(regions, tolerance=tolerances)
    except shapely.GEOSException:
        if len(regions) == 1:
            return shapely.point_on_surface(regions), np.zeros(1)
        each = [_largest_circles(regions[[i]], tolerances[[i]]) for i in range(len(regions))]
        return np.concatenate([middle for middle, _ in each]), np.concatenate([radius for _, radius in each])
    return shapely.get_point(circles, 0), shapely.length(circles)


def _off_smaller(regions: Shapes, spots: _Spots, roomy: NDArray[np.bool_]) -> Iterator[bytes]:
    """Moves spots that lie on a smaller object, as that of a spheroid on its core, to what is left of their own.

    Only those of `roomy` objects, which have their number in them.
    """
    shown = np.flatnonzero(np.isfinite(spots.radii))
    area = shapely.area(regions)
    tree = shapely.STRtree(regions[shown])
    yield b""
    large = np.flatnonzero(roomy)
    pairs = tree.query(shapely.points(spots.centres[large]), predicate="intersects")
    which, on = large[pairs[0]], shown[pairs[1]]
    yield b""
    for i in np.unique(which[area[on] < area[which]]).tolist():
        others = shown[tree.query(regions[i], predicate="intersects")]
        others = others[area[others] < area[i]]
        others = others[np.argsort(-area[others], kind="stable")][:MAX_INSIDE]
        rest = np.empty(len(regions), object)
        with np.errstate(all="ignore"):
            rest[i] = polygonal(shapely.difference(regions[i], shapely.union_all(regions[others])))
        _find(rest, np.array([i]), spots)
        yield b""


# --- what is taken --------------------------------------------------------------------------------------------------------


class Paper:
    """The picture as a coarse map of what badges should not cover."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._cell = max(2, int(np.ceil(np.sqrt(width * height / MAX_CELLS))))
        self._taken = np.zeros((height // self._cell + 1, width // self._cell + 1), np.uint8)

    def mark(self, left: float, top: float, right: float, bottom: float) -> None:
        """Something is here."""
        self._cells(left, top, right, bottom)[...] = 1

    def mark_line(self, points: Points, reach: float) -> None:
        """A line runs here, and takes `reach` pixels on either side."""
        cells = np.clip(points / self._cell, -FAR, FAR)
        thickness = max(1, round(2 * reach / self._cell))
        cv2.polylines(self._taken, [np.rint(cells * 16).astype(np.int32)], False, 1, thickness, cv2.LINE_8, 4)

    def keep(self, badge: Badge) -> Badge:
        """The badge moved (and, on a tiny picture, made smaller) so that it is wholly in the picture."""
        left, top, right, bottom = badge.box
        shrink = min(1.0, self.width / (right - left), self.height / (bottom - top))
        half_width, half_height = (right - left) * shrink / 2, (bottom - top) * shrink / 2
        x = min(max(badge.x, half_width), self.width - half_width)
        y = min(max(badge.y, half_height), self.height - half_height)
        return Badge(badge.text, x, y, badge.size * shrink, badge.width * shrink, badge.target)

    def beside(self, text: str, width: float, size: float, extent: tuple[float, ...]) -> Badge:
        """A badge near an object, where the least is taken; the nearest of equals. Marks it."""
        first = self.keep(Badge(text, *next(_around(extent, width, size, far=False)), size, width))
        best, least = first, self._taken_by(first)
        for far in (False, True):
            target = ((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2) if far else None
            for x, y in _around(extent, first.width, first.size, far):
                if least == 0:
                    break
                badge = self._inside(Badge(text, x, y, first.size, first.width, target))
                taken = self._taken_by(badge)
                if taken == 0 or (taken < least and not far):  # far off only where it helps: the line hides things, too
                    best, least = badge, taken
        self.mark(*best.box)
        return best

    def _inside(self, badge: Badge) -> Badge:
        left, top, right, bottom = badge.box
        if left >= 0 and top >= 0 and right <= self.width and bottom <= self.height:
            return badge
        return self.keep(badge)

    def _taken_by(self, badge: Badge) -> int:
        return int(np.count_nonzero(self._cells(*badge.box)))

    def _cells(self, left: float, top: float, right: float, bottom: float) -> NDArray[np.uint8]:
        cell = self._cell
        rows = slice(max(0, int(top // cell)), max(0, int(-(-bottom // cell))))
        return self._taken[rows, max(0, int(left // cell)) : max(0, int(-(-right // cell)))]


def _around(extent: tuple[float, ...], width: float, size: float, far: bool) -> Iterator[tuple[float, float]]:
    """Centres of a text beside a box: right, left, above, below, corners."""
    left, top, right, bottom = extent
    x, y = (left + right) / 2, (top + bottom) / 2
    gap = size * (1.2 if far else 0.2) + 2
    sideways = (right - left) / 2 + gap + width / 2
    upwards = (bottom - top) / 2 + gap + CAP_HEIGHT * size / 2
    for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)):
        yield x + dx * sideways, y + dy * upwards
