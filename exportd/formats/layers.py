"""What is drawn over an image, as layers of things of one kind: each thing knows its extent, so that a band draws only what is
in it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import skia

from exportd.core.dataset import Points, Polygon, Polyline
from exportd.core.geometry import Floats, Rings, areas, boxes, signed_areas
from exportd.core.options import VisualizationOptions
from exportd.formats.badges import HALO, Badge
from exportd.formats.drawing import (
    BLACK,
    CAP_HEIGHT,
    WHITE,
    Colour,
    colour_of,
    fill_paint,
    font_of,
    line_path,
    rings_path,
    stroke_paint,
)

MOST_COVERED = 1 << 20
"""Pixels: a band has no more of a thing that is larger."""

BATCH_POINTS = 50_000
"""Vertices that become paths between two such places."""

CORE: Colour = (0, 200, 0)
INCOMPLETE: Colour = (150, 150, 150)
PARTS: dict[str | None, Colour] = {"head": (255, 214, 0), "midpiece": (0, 229, 255), "tail": (255, 77, 255)}
OTHER_LINES: Colour = (255, 120, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Things of one kind, drawn in order."""

    extents: Floats
    """What each of them covers: left, top, right, bottom; shape (k, 4)."""
    costs: Floats
    """Estimated nanoseconds that each takes to draw."""
    draw: Callable[[skia.Canvas, int], None]


def _layer(rings: Rings, margin: float, draw: Callable[[skia.Canvas, int], None]) -> Layer:
    """Of outlines or lines that reach `margin` pixels beyond their vertices."""
    extents = boxes(rings) + np.array([-margin, -margin, margin, margin])
    covered = np.prod(extents[:, 2:] - extents[:, :2], axis=1)
    return Layer(extents, 20_000 + 400 * rings.counts + 3 * np.minimum(covered, MOST_COVERED), draw)


# --- polygons -----------------------------------------------------------------------------------------------------------


def polygon_layers(polygons: Sequence[Polygon], look: VisualizationOptions) -> Generator[bytes, None, list[Layer]]:
    """Fills, outlines, outlines of holes."""
    rings = Rings.of([polygon.points for polygon in polygons])
    polygons = [polygons[i] for i in np.argsort(-areas(rings), kind="stable")]
    yield b""
    outlines, holes = [], []
    waiting = 0
    for polygon in polygons:
        outlines.append(rings_path([polygon.points], skia.PathFillType.kEvenOdd))
        holes.append(rings_path(_one_way(polygon.holes), skia.PathFillType.kWinding) if polygon.holes else None)
        waiting += len(polygon.points) + 20
        if waiting > BATCH_POINTS:
            yield b""
            waiting = 0
    yield b""
    external, internal = look.polygon_colors.external, look.polygon_colors.internal
    colours = [_colour(polygon, colour_of(external)) for polygon in polygons]
    fills = {colour: fill_paint(colour, 1 - look.transparency) for colour in colours}
    strokes = {colour: stroke_paint(colour, look.stroke_width) for colour in colours}
    inner = stroke_paint(colour_of(internal), look.stroke_width)

    def fill(canvas: skia.Canvas, i: int) -> None:
        if hole := holes[i]:
            canvas.save()
            canvas.clipPath(hole, skia.ClipOp.kDifference, True)
            canvas.drawPath(outlines[i], fills[colours[i]])
            canvas.restore()
        else:
            canvas.drawPath(outlines[i], fills[colours[i]])

    def outline(canvas: skia.Canvas, i: int) -> None:
        canvas.drawPath(outlines[i], strokes[colours[i]])

    with_holes = [i for i, hole in enumerate(holes) if hole]

    def outline_holes(canvas: skia.Canvas, i: int) -> None:
        canvas.drawPath(holes[with_holes[i]], inner)

    outer = Rings.of([polygon.points for polygon in polygons])
    inside = Rings.of([np.concatenate(polygons[i].holes) for i in with_holes])
    yield b""
    margin = look.stroke_width / 2 + 1
    layers = [_layer(outer, margin, outline), _layer(inside, margin, outline_holes)]
    return [_layer(outer, 1, fill), *layers] if look.transparency < 1 else layers


def _one_way(rings: Sequence[Points]) -> Iterable[Points]:
    """All running the same way round: what any of them encloses then counts as enclosed, also where two overlap."""
    signs = signed_areas(Rings.of(rings)).tolist()
    return (ring if sign >= 0 else ring[::-1] for ring, sign in zip(rings, signs, strict=True))


def _colour(polygon: Polygon, usual: Colour) -> Colour:
    """Incomplete objects are left out of the metrics: that is told first."""
    if not polygon.complete:
        return INCOMPLETE
    return CORE if polygon.part_class == "core" else usual


# --- open lines -----------------------------------------------------------------------------------------------------------


def line_layer(lines: Sequence[Polyline], look: VisualizationOptions) -> Layer:
    """Lines with a dot at each end."""
    paths = [line_path(line.points) for line in lines]
    colours = [PARTS.get(line.part_class, OTHER_LINES) for line in lines]
    strokes = {colour: stroke_paint(colour, look.stroke_width) for colour in colours}
    dots = {colour: fill_paint(colour) for colour in colours}
    radius = dot_radius(look)

    def draw(canvas: skia.Canvas, i: int) -> None:
        canvas.drawPath(paths[i], strokes[colours[i]])
        for end in lines[i].points[[0, -1]].tolist():
            canvas.drawCircle(*end, radius, dots[colours[i]])

    return _layer(Rings.of([line.points for line in lines]), radius + 1, draw)


def dot_radius(look: VisualizationOptions) -> float:
    return max(1.5, 1.25 * look.stroke_width)


# --- numbers ------------------------------------------------------------------------------------------------------------


def badge_layer(badges: Sequence[Badge], face: skia.Typeface) -> Layer:
    """White letters with a dark rim: they can be read on any ground, and hide less than a plate."""
    fonts = {size: font_of(face, size) for size in {badge.size for badge in badges}}
    rims = {size: stroke_paint(BLACK, 2 * HALO * size, 0.85) for size in fonts}
    white, thin, thick = fill_paint(WHITE), stroke_paint(WHITE, 1), stroke_paint(BLACK, 2.5, 0.85)

    def draw(canvas: skia.Canvas, i: int) -> None:
        badge = badges[i]
        if badge.target is not None:
            start = _edge(badge)
            canvas.drawLine(*start, *badge.target, thick)
            canvas.drawLine(*start, *badge.target, thin)
        x, y = badge.x - badge.width / 2, badge.y + CAP_HEIGHT * badge.size / 2
        canvas.drawString(badge.text, x, y, fonts[badge.size], rims[badge.size])
        canvas.drawString(badge.text, x, y, fonts[badge.size], white)

    extents = np.array([_extent(badge) for badge in badges], np.float64).reshape(-1, 4)
    return Layer(extents + np.array([-2, -2, 2, 2]), np.full(len(badges), 20_000.0), draw)


def _extent(badge: Badge) -> tuple[float, float, float, float]:
    left, top, right, bottom = badge.box
    x, y = badge.target or (badge.x, badge.y)
    return min(left, x), min(top, y), max(right, x), max(bottom, y)


def _edge(badge: Badge) -> tuple[float, float]:
    """The point of the badge's box that is nearest to what it belongs to."""
    left, top, right, bottom = badge.box
    x, y = badge.target or (badge.x, badge.y)
    return min(max(x, left), right), min(max(y, top), bottom)
