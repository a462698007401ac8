"""`visualizations/<stem>_viz.png`: what was found, drawn over the image.

The picture is drawn and written band by band, so that one of any size needs little memory besides its pixels and a cancel
falls between two bands, or between two objects of a band with many. All objects are filled, then all are outlined, large
ones first, then come the open lines, then the numbers: nothing hides what lies in it, and no outline hides a number.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import skia

from exportd.core.dataset import Annotation, Dataset, Image, Pixels, Points, Polygon, Polyline
from exportd.core.geometry import Floats, Rings, areas, boxes, lengths, signed_areas
from exportd.core.options import ExportOptions, VisualizationOptions
from exportd.errors import UnreadableImage
from exportd.formats.badges import HALO, LEGIBLE, Badge, Paper, place_numbers
from exportd.formats.display import Display, Rgb, is_picture
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
    typeface,
    width_of,
    writable,
)
from exportd.formats.instances import labels
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.png import png
from exportd.formats.streaming import MAX_NAMED

BAND_PIXELS = 1 << 20

PAUSE = 2e7
"""Estimated nanoseconds of drawing between two places to look for a cancel."""

BATCH_POINTS = 50_000
"""Vertices that become paths between two such places."""

CORE: Colour = (0, 200, 0)
INCOMPLETE: Colour = (150, 150, 150)
PARTS: dict[str | None, Colour] = {"head": (255, 214, 0), "midpiece": (0, 229, 255), "tail": (255, 77, 255)}
OTHER_LINES: Colour = (255, 120, 0)

LONGEST_LABEL = 16
"""Characters of a label that are shown; an id may be a UUID."""

LABEL_PER_LENGTH = 0.3
"""Font size of a label to the length of its line, so that short lines have small ones."""


def overlays(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:
    """A member for each image, in order; one whose pixels cannot be read has none, and a warning counts and names it."""
    without = []
    for image, annotation in dataset.annotated():
        member = _overlay(dataset, image, annotation, options.visualization_options)
        if member is None:
            without.append(image.name)
        else:
            yield member
        yield Tick(image.name)
    if without:
        yield Warn(_sentence(without))


def _sentence(names: Sequence[str]) -> str:
    named = ", ".join(names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    what = "1 image has none, as its pixels" if len(names) == 1 else f"{len(names)} images have none, as their pixels"
    return f"Visualizations: {what} cannot be read: {named}{more}."


def _overlay(dataset: Dataset, image: Image, annotation: Annotation, look: VisualizationOptions) -> Member | None:
    """In a function of its own so that nothing but the member holds the pixels: two images' would be twice the memory."""
    try:
        pixels = dataset.pixels(image)
    except UnreadableImage:
        return None
    if not is_picture(pixels):
        return None
    chunks = overlay_png(pixels, annotation, look, dataset.project.type)
    path = f"visualizations/{image.stem}_viz.png"
    return Member(path, chunks, "image/png", False, image.id, image.original_name)


def overlay_png(
    pixels: Pixels, annotation: Annotation, look: VisualizationOptions, project_type: str, band: int = BAND_PIXELS
) -> Iterator[bytes]:
    """The drawing as chunks of a PNG. `band` is in pixels; it changes the bytes, but nothing that can be seen."""
    display = Display.of(pixels)
    yield b""
    layers = [*(yield from _polygon_layers(annotation.polygons, look)), *_line_layers(annotation.polylines, look)]
    if look.show_numbers:
        paper = Paper(display.width, display.height)
        face = typeface()
        badges = yield from _badges(annotation, look, project_type, paper, face)
        yield b""
        layers.append(_badge_layer(badges, face))
    rows = max(1, band // display.width)
    yield from png(display.width, display.height, 3, _bands(display, layers, rows))


# --- bands --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Things of one kind, drawn in order."""

    extents: Floats
    """What each of them covers: left, top, right, bottom; shape (k, 4)."""
    costs: Floats
    """Estimated nanoseconds that each takes to draw."""
    draw: Callable[[skia.Canvas, int], None]


def _bands(display: Display, layers: Sequence[Layer], rows: int) -> Iterator[Rgb]:
    """The picture from top to bottom, with bands of no rows as places to look for a cancel."""
    pause = np.empty((0, display.width, 3), np.uint8)
    for top in range(0, display.height, rows):
        bottom = min(top + rows, display.height)
        canvas_pixels = cv2.cvtColor(display.band(top, bottom), cv2.COLOR_RGB2BGRA)
        surface = skia.Surface(canvas_pixels, skia.kBGRA_8888_ColorType, skia.kOpaque_AlphaType)
        spent = 0.0
        with surface as canvas:
            canvas.translate(0, -top)
            for layer, which in _visible(layers, display.width, top, bottom):
                layer.draw(canvas, which)
                spent += layer.costs[which]
                if spent > PAUSE:
                    yield pause
                    spent = 0.0
        del surface
        yield np.asarray(cv2.cvtColor(canvas_pixels, cv2.COLOR_BGRA2RGB), np.uint8)


def _visible(layers: Sequence[Layer], width: int, top: int, bottom: int) -> Iterator[tuple[Layer, int]]:
    for layer in layers:
        x0, y0, x1, y1 = layer.extents.T
        for which in np.flatnonzero((y0 < bottom) & (y1 > top) & (x0 < width) & (x1 > 0)).tolist():
            yield layer, which


def _layer(rings: Rings, margin: float, draw: Callable[[skia.Canvas, int], None]) -> Layer:
    """Of outlines or lines that reach `margin` pixels beyond their vertices."""
    extents = boxes(rings) + np.array([-margin, -margin, margin, margin])
    covered = np.prod(extents[:, 2:] - extents[:, :2], axis=1)
    return Layer(extents, 20_000 + 400 * rings.counts + 3 * np.minimum(covered, BAND_PIXELS), draw)


# --- polygons -----------------------------------------------------------------------------------------------------------


def _polygon_layers(polygons: Sequence[Polygon], look: VisualizationOptions) -> Generator[bytes, None, list[Layer]]:
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


def _line_layers(lines: Sequence[Polyline], look: VisualizationOptions) -> list[Layer]:
    """Lines with a dot at each end."""
    paths = [line_path(line.points) for line in lines]
    colours = [PARTS.get(line.part_class, OTHER_LINES) for line in lines]
    strokes = {colour: stroke_paint(colour, look.stroke_width) for colour in colours}
    dots = {colour: fill_paint(colour) for colour in colours}
    radius = _dot_radius(look)

    def draw(canvas: skia.Canvas, i: int) -> None:
        canvas.drawPath(paths[i], strokes[colours[i]])
        for end in lines[i].points[[0, -1]].tolist():
            canvas.drawCircle(*end, radius, dots[colours[i]])

    return [_layer(Rings.of([line.points for line in lines]), radius + 1, draw)]


def _dot_radius(look: VisualizationOptions) -> float:
    return max(1.5, 1.25 * look.stroke_width)


# --- numbers and labels ---------------------------------------------------------------------------------------------------


def _badges(
    annotation: Annotation, look: VisualizationOptions, project_type: str, paper: Paper, face: skia.Typeface
) -> Generator[bytes, None, list[Badge]]:
    yield b""
    for line in annotation.polylines:
        paper.mark_line(line.points, _dot_radius(look))
    yield b""
    numbers = yield from place_numbers(annotation.polygons, width_of("0", face), look.font_size, paper)
    names = yield from _place_labels(annotation.polylines, look, project_type, paper, face)
    return numbers + names


def _place_labels(
    lines: Sequence[Polyline], look: VisualizationOptions, project_type: str, paper: Paper, face: skia.Typeface
) -> Generator[bytes, None, list[Badge]]:
    """One badge for each instance, beside the middle of its first line."""
    first: dict[str, int] = {}
    total: dict[str, float] = {}
    names = labels(project_type, lines)
    for i, (name, length) in enumerate(zip(names, lengths(Rings.of([line.points for line in lines])), strict=True)):
        first.setdefault(name, i)
        total[name] = total.get(name, 0.0) + float(length)
    badges = []
    for name, i in first.items():
        if not name:
            continue
        size = min(look.font_size, max(LEGIBLE, LABEL_PER_LENGTH * total[name]))
        text = writable(name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…", face)
        x, y = _middle(lines[i].points)
        reach = _dot_radius(look) + 1
        if 0 <= x <= paper.width and 0 <= y <= paper.height:
            extent = (x - reach, y - reach, x + reach, y + reach)
            badges.append(paper.beside(text, width_of(text, face) * size, size, extent))
        yield b""
    return badges


def _middle(points: Points) -> tuple[float, float]:
    """Half way along a line."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    half = along[-1] / 2
    return float(np.interp(half, along, points[:, 0])), float(np.interp(half, along, points[:, 1]))


def _badge_layer(badges: Sequence[Badge], face: skia.Typeface) -> Layer:
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
