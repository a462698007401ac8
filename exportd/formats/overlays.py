"""`visualizations/<stem>_viz.png`: what was found, drawn over the image.

The picture is drawn and written band by band, so that one of any size needs little memory besides its pixels and a cancel
falls between two bands, or between two objects of a band with many. All objects are filled, then all are outlined, large
ones first, then come the open lines, then the numbers: nothing hides what lies in it, and no outline hides a number.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import cv2
import numpy as np
import skia

from exportd.core.dataset import Annotation, Dataset, Image, Pixels, Points, Polyline
from exportd.core.geometry import Rings, lengths
from exportd.core.options import ExportOptions, VisualizationOptions
from exportd.errors import UnreadableImage
from exportd.formats.badges import LEGIBLE, Badge, Paper, place_numbers
from exportd.formats.display import Display, Rgb, is_picture
from exportd.formats.drawing import typeface, width_of, writable
from exportd.formats.instances import labels
from exportd.formats.layers import Layer, badge_layer, dot_radius, line_layer, polygon_layers
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.png import png

BAND_PIXELS = 1 << 19

PAUSE = 2e7
"""Estimated nanoseconds of drawing between two places to look for a cancel."""

LONGEST_LABEL = 16
"""Characters of a label that are shown; an id may be a UUID."""

LABEL_PER_LENGTH = 0.3
"""Font size of a label to the length of its line, so that short lines have small ones."""


def overlays(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:
    """A member for each image, in order; one whose pixels cannot be read has none, and a warning counts and names it."""
    without: list[str] = []
    for image, annotation in dataset.annotated():
        member = _overlay(dataset, image, annotation, options.visualization_options)
        if member is None:
            without.append(image.name)
        else:
            yield member
        yield Tick(image.name)
    if without:
        yield Warn(
            "Visualizations: 1 image has none, as its pixels cannot be read: {names}.",
            "Visualizations: {count} images have none, as their pixels cannot be read: {names}.",
            len(without),
            tuple(without),
        )


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
    layers = [*(yield from polygon_layers(annotation.polygons, look)), line_layer(annotation.polylines, look)]
    if look.show_numbers:
        paper = Paper(display.width, display.height)
        face = typeface()
        badges = yield from _badges(annotation, look, project_type, paper, face)
        yield b""
        layers.append(badge_layer(badges, face))
    rows = max(1, band // display.width)
    yield from png(display.width, display.height, 3, _bands(display, layers, rows), photo=True)


# --- bands --------------------------------------------------------------------------------------------------------------


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


# --- numbers and labels ---------------------------------------------------------------------------------------------------


def _badges(
    annotation: Annotation, look: VisualizationOptions, project_type: str, paper: Paper, face: skia.Typeface
) -> Generator[bytes, None, list[Badge]]:
    yield b""
    for line in annotation.polylines:
        paper.mark_line(line.points, dot_radius(look))
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
        reach = dot_radius(look) + 1
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
