"""The healing of a wound as a picture: its area, in percent of the image, from image to image."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import skia
from numpy.typing import NDArray

from exportd.formats.drawing import Colour, fill_paint, font_of, line_path, stroke_paint, typeface
from exportd.formats.member import Member
from exportd.formats.png import png
from exportd.formats.spool import Spool
from exportd.formats.tabular import Table

PATH = "wound_healing/wound_area_chart.png"

TIME_SERIES = "wound_time_series"
"""File of the table, and the headers of the columns that are drawn."""
ORDER, AREA = "Order", "Wound Area (%)"

WIDTH, HEIGHT = 1600, 900
LEFT, RIGHT, TOP, BOTTOM = 180, 60, 100, 120
"""Pixels around the plot."""

MAX_MARKED = 150
"""Images up to which each has a point of its own; beyond they would hide the line."""

BAND = 50
"""Rows of the picture that are packed between two chunks."""

STROKES = 2_000
"""Points that are drawn between two chunks."""

INK, MUTED, GRID, LINE = (34, 34, 34), (102, 102, 102), (227, 227, 227), (31, 95, 168)

Floats = NDArray[np.float64]


def wound_chart(spool: Spool) -> Iterator[Member]:
    """One picture, where there is a table of the time series."""
    for table in spool.tables:
        if table.file == TIME_SERIES and {ORDER, AREA} <= {column.header for column in table.columns}:
            yield Member(PATH, _picture(spool, table), "image/png", compress=False)


def _picture(spool: Spool, table: Table) -> Iterator[bytes]:
    columns = {column.header: column for column in table.columns}
    orders = spool.numbers(table, columns[ORDER])
    yield b""
    yield from picture(orders, spool.numbers(table, columns[AREA]))


def picture(orders: Floats, areas: Floats) -> Iterator[bytes]:
    """PNG of percentages by the order of their images, NaN where there is none: a gap in the line.

    Where the orders do not rise, images stand at equal distances.
    """
    if not (np.isfinite(orders).all() and (np.diff(orders) > 0).all()):
        orders = np.arange(1, len(areas) + 1, dtype=np.float64)
    surface = skia.Surface(WIDTH, HEIGHT)
    with surface as canvas:
        plot = _Plot(canvas, across(orders), up(areas[np.isfinite(areas)]))
        plot.frame()
        if not np.isfinite(areas).any():
            plot.text("no wound area could be measured", (LEFT + WIDTH - RIGHT) / 2, HEIGHT / 2, 26, MUTED, 0.5)
        yield b""
        yield from plot.curve(orders, areas)
    pixels = surface.toarray(colorType=skia.ColorType.kRGBA_8888_ColorType)
    yield from png(WIDTH, HEIGHT, 3, (pixels[top : top + BAND, :, :3] for top in range(0, HEIGHT, BAND)))


class Axis(NamedTuple):
    """Where an axis begins and ends, and its ticks, in the values' unit."""

    low: float
    high: float
    ticks: list[float]


def across(orders: Floats) -> Axis:
    """From the first image to the last, ticks at whole numbers; a single image stands in the middle."""
    if not len(orders):
        return Axis(0, 1, [])
    low, high = float(orders.min()), float(orders.max())
    if low == high:
        return Axis(low - 1, high + 1, [low])
    return Axis(low, high, _ticks(low, high, max(nice_step(high - low), 1.0)))


def up(areas: Floats) -> Axis:
    """From 0 to a tick that is not below any area; percent if there are none."""
    high = float(areas.max()) if len(areas) else 100.0
    if high <= 0:
        high = 1.0
    step = nice_step(high)
    high = math.ceil(high / step) * step
    return Axis(0, high, _ticks(0, high, step))


def _ticks(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def nice_step(extent: float, most: int = 8) -> float:
    """1, 2 or 5 times a power of ten, so that at most so many steps fill the extent."""
    raw = extent / most
    unit = 10.0 ** math.floor(math.log10(raw))
    return next((factor * unit for factor in (1, 2, 5) if factor * unit >= raw), 10 * unit)


class _Plot:
    """Axes on a canvas, and what is drawn between them."""

    def __init__(self, canvas: skia.Canvas, across: Axis, up: Axis) -> None:
        self._canvas = canvas
        self._typeface = typeface()
        self._across = across
        self._up = up

    def frame(self) -> None:
        self._canvas.clear(skia.ColorWHITE)
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for tick in self._up.ticks:
            y = float(self._y(np.array(tick)))
            self._canvas.drawLine(LEFT, y, right, y, stroke_paint(GRID, 1.5))
            self.text(f"{tick:.6g}", LEFT - 16, y + 8, 24, MUTED, 1)
        for tick in self._across.ticks:
            x = float(self._x(np.array(tick)))
            self._canvas.drawLine(x, bottom, x, bottom + 8, stroke_paint(MUTED, 1.5))
            self.text(f"{tick:.10g}", x, bottom + 38, 24, MUTED, 0.5)
        self._canvas.drawLine(LEFT, bottom, right, bottom, stroke_paint(MUTED, 2))
        self._canvas.drawLine(LEFT, TOP, LEFT, bottom, stroke_paint(MUTED, 2))
        self.text("Wound area", LEFT, 60, 36, INK, 0)
        self.text("Images in order", (LEFT + right) / 2, HEIGHT - 30, 26, INK, 0.5)
        self._canvas.save()
        self._canvas.translate(42, (TOP + bottom) / 2)
        self._canvas.rotate(-90)
        self.text(AREA, 0, 0, 26, INK, 0.5)
        self._canvas.restore()

    def text(self, text: str, x: float, y: float, size: float, colour: Colour, share: float) -> None:
        """`share` of the text's width is on the left of x; y is the base line."""
        font = font_of(self._typeface, size)
        self._canvas.drawString(text, x - share * font.measureText(text), y, font, fill_paint(colour))

    def curve(self, orders: Floats, areas: Floats) -> Generator[bytes, None, None]:
        marked = len(areas) <= MAX_MARKED
        for run in runs(np.isfinite(areas)):
            points = np.column_stack([self._x(orders[run]), self._y(areas[run])])
            if len(points) > 1:
                yield from self._line(thinned(points), 3 if marked else 1.5)
            if marked or len(points) == 1:  # one image between two gaps has no line
                for x, y in points.tolist():
                    self._canvas.drawCircle(x, y, 6 if marked else 2.5, fill_paint(LINE))
            yield b""

    def _line(self, points: Floats, width: float) -> Iterator[bytes]:
        for begin in range(0, len(points) - 1, STROKES):
            self._canvas.drawPath(line_path(points[begin : begin + STROKES + 1]), stroke_paint(LINE, width))
            yield b""

    def _x(self, values: Floats) -> Floats:
        share = (values - self._across.low) / (self._across.high - self._across.low)
        return LEFT + 20 + share * (WIDTH - RIGHT - LEFT - 40)

    def _y(self, values: Floats) -> Floats:
        share = (values - self._up.low) / (self._up.high - self._up.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def runs(present: NDArray[np.bool_]) -> Iterator[slice]:
    """What stands together, from gap to gap."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    for begin, end in edges.reshape(-1, 2).tolist():
        yield slice(begin, end)


def thinned(points: Floats) -> Floats:
    """Points from left to right, of which a column of pixels keeps the first, the last, and its range: the same picture
    from at most four points a column."""
    columns = np.floor(points[:, 0])
    first = np.flatnonzero(np.concatenate([[True], columns[1:] != columns[:-1]]))
    if 4 * len(first) >= len(points):
        return points
    last = np.append(first[1:], len(points)) - 1
    lowest = np.column_stack([points[first, 0], np.minimum.reduceat(points[:, 1], first)])
    highest = np.column_stack([points[last, 0], np.maximum.reduceat(points[:, 1], first)])
    return np.stack([points[first], lowest, highest, points[last]], axis=1).reshape(-1, 2)
