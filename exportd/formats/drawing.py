"""What drawings have in common: typeface, colours, paths. Skia's objects are made per call: threads share none.

Skia puts pixel corners at whole numbers, as the coordinates of this house do. Nothing here depends on the machine: the
typeface is the one that Pillow carries, as servers often have none, and is drawn without hinting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import skia
from PIL import ImageFont

from exportd.core.dataset import Points

WHITE = (255, 255, 255)
BLACK = (0, 0, 0)

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

MEASURED_AT = 100
"""Font size at which widths are measured; they are linear."""

CAP_HEIGHT = 0.72
"""Of digits and capitals, with their overshoot, as a share of the font size."""

UNKNOWN = "?"
"""In place of a character that the typeface does not have."""


def typeface() -> skia.Typeface:
    """The typeface (Aileron): digits, Latin letters of ASCII, some signs. Takes microseconds."""
    # A manager without fonts of its own: the default one reads the system's font configuration first.
    # And with a copy: skia would not keep Python's bytes alive.
    return skia.FontMgr.New_Custom_Empty().makeFromData(skia.Data.MakeWithCopy(_font_bytes()))


def _font_bytes() -> bytes:
    font = ImageFont.load_default(MEASURED_AT)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return bytes(font.font_bytes)


def font_of(face: skia.Typeface, size: float) -> skia.Font:
    """The typeface at a size in pixels; the same shapes wherever the text stands."""
    font = skia.Font(face, size)
    font.setHinting(skia.FontHinting.kNone)
    font.setSubpixel(True)
    font.setLinearMetrics(True)
    font.setEdging(skia.Font.Edging.kAntiAlias)
    return font


def writable(text: str, face: skia.Typeface) -> str:
    """The text with a sign in place of what the typeface does not have."""
    return "".join(c if face.unicharToGlyph(ord(c)) else UNKNOWN for c in text)


def width_of(text: str, face: skia.Typeface) -> float:
    """Advance of the text as a share of the font size."""
    return float(font_of(face, MEASURED_AT).measureText(text)) / MEASURED_AT


def colour_of(text: str) -> Colour:
    """From `#rgb` or `#rrggbb`."""
    digits = text.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def fill_paint(colour: Colour, opacity: float = 1.0) -> skia.Paint:
    """Fills shapes; `opacity` 0 to 1."""
    return skia.Paint(AntiAlias=True, Color=skia.Color(*colour, round(255 * opacity)), Style=skia.Paint.kFill_Style)


def stroke_paint(colour: Colour, width: float, opacity: float = 1.0) -> skia.Paint:
    """Draws lines of a width in pixels with round joins and ends."""
    return skia.Paint(
        AntiAlias=True,
        Color=skia.Color(*colour, round(255 * opacity)),
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=width,
        StrokeJoin=skia.Paint.kRound_Join,
        StrokeCap=skia.Paint.kRound_Cap,
    )


def line_path(points: Points) -> skia.Path:
    """An open line."""
    path = skia.Path()
    _append(path, points)
    return path


def rings_path(rings: Iterable[Points], fill: skia.PathFillType) -> skia.Path:
    """Closed rings."""
    path = skia.Path()
    path.setFillType(fill)
    for ring in rings:
        _append(path, ring)
        path.close()
    return path


def _append(path: skia.Path, points: Points) -> None:
    path.moveTo(*points[0].tolist())
    # The quickest way there is: a list of skia's points costs twice as much to build.
    deque(map(path.lineTo, points[1:, 0].tolist(), points[1:, 1].tolist()), maxlen=0)
