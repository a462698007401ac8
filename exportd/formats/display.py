"""Pixels of any kind to 8-bit RGB for people to look at, band by band.

8-bit values stay as they are, booleans become black and white. Wider integers and floats are stretched so that the 0.5
percentile is black and the 99.5 percentile white, over all colours together, so that hues stay: the full range of 16 bits
would show most microscope images as black. What is transparent is blended over white, as a page or a web browser shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from exportd.core.dataset import Pixels

Rgb = NDArray[np.uint8]
"""Shape (rows, width, 3)."""

BLACK_AND_WHITE = (0.5, 99.5)
"""Percentiles. A few hot or dead pixels must not decide."""

SAMPLE = 1 << 18
"""Most pixels that the percentiles come from: a regular grid of the picture. More change nothing that can be seen."""

WHITE = 255


def is_picture(pixels: Pixels) -> bool:
    """Whether there is anything to show: a grid of grey or colour pixels, with at least one."""
    return pixels.ndim in (2, 3) and pixels.size > 0 and pixels.dtype.kind in "buif"


@dataclass(frozen=True, slots=True, eq=False)
class Display:
    """A picture and what its values look like."""

    pixels: Pixels
    """Shape (height, width, channels)."""
    black: float
    white: float
    """Values that become 0 and 255; equal where all of the picture has one value, which is shown as black."""
    see_through: bool
    """Whether the last channel is an alpha that counts."""

    @classmethod
    def of(cls, pixels: Pixels) -> Display:
        """The picture, for which `is_picture` must hold."""
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        every = max(1, int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / SAMPLE))))
        sample = pixels[::every, ::every]
        has_alpha = sample.shape[2] in (2, 4)
        # An alpha that is 0 everywhere is an unused fourth channel, not an invisible picture.
        see_through = has_alpha and bool(sample[..., -1].any())
        return cls(pixels, *_range(_without_alpha(sample)), see_through)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def band(self, top: int, bottom: int) -> Rgb:
        """Rows `top` to `bottom` (not included); contiguous."""
        band = self.pixels[top:bottom]
        colours = self._eight_bits(_without_alpha(band))
        if self.see_through and (opacity := _opacity(band[..., -1:])).min() < 1:
            colours = _over_white(colours, opacity)
        if colours.shape[2] == 1:
            return np.asarray(cv2.cvtColor(colours, cv2.COLOR_GRAY2RGB), np.uint8)
        return np.ascontiguousarray(colours)

    def _eight_bits(self, values: Pixels) -> NDArray[np.uint8]:
        if values.dtype == np.uint8:
            return values.view(np.uint8)
        if values.dtype == np.bool_:
            return values.view(np.uint8) * np.uint8(WHITE)
        # Single precision holds every value of 16 bits; wider integers would lose small differences on a high level.
        exact: np.dtype[np.floating] = np.dtype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            shades = values.astype(exact)
            shades -= exact.type(self.black)
            shades *= exact.type(WHITE / (self.white - self.black) if self.white > self.black else 0)
        np.copyto(shades, 0, where=~np.isfinite(values))
        np.clip(shades, 0, WHITE, out=shades)
        shades[np.isnan(shades)] = 0
        return np.rint(shades).astype(np.uint8)


def _without_alpha(pixels: Pixels) -> Pixels:
    """One channel or three."""
    return pixels[..., :1] if pixels.shape[-1] < 3 else pixels[..., :3]


def _range(values: Pixels) -> tuple[float, float]:
    """Black and white: the percentiles; where these are one value, as in a picture of few bright spots, the extremes."""
    if values.dtype.kind == "b" or values.dtype == np.uint8:
        return 0, WHITE
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0, 0
    low, high = np.percentile(finite, BLACK_AND_WHITE)
    if low == high:
        low, high = finite.min(), finite.max()
    return float(low), float(high)


def _opacity(alpha: Pixels) -> NDArray[np.float32]:
    """0 to 1."""
    if alpha.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(np.clip(alpha, 0, 1).astype(np.float32))
    most = 1 if alpha.dtype.kind == "b" else np.iinfo(alpha.dtype.str).max
    return np.maximum(alpha, 0).astype(np.float32) / np.float32(most)


def _over_white(colours: NDArray[np.uint8], opacity: NDArray[np.float32]) -> NDArray[np.uint8]:
    blended: NDArray[np.float32] = WHITE - (WHITE - colours.astype(np.float32)) * opacity
    return np.rint(blended).astype(np.uint8)
