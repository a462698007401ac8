"""How far a spheroid has fallen apart around its core: the panel at the end of SPEC appendix A.

Everything is counted on rasters by the pixel-centre rule, like the masks of COCO. The foreground is the union of all
external polygons, cores among them, without their holes. Only the box around it is ever a raster. Work is done in steps
with None given in between, so that a cancel is heard; labelling components cannot be parted and takes some 10 ns a pixel.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from exportd.core.dataset import Points, Polygon
from exportd.core.geometry import Floats, Rings, boxes
from exportd.formats.object_pixels import ObjectPixels

CLOSING_RADIUS = 2
"""Pixels, of the ellipse that closes gaps between fragments (SPEC)."""

SMALLEST = 30
"""Pixels of a fragment, and of a hole, that counts (SPEC)."""

MARGIN = 2 * CLOSING_RADIUS
"""Pixels around the foreground that closing looks at."""

STRIPE = 1 << 18
"""Pixels that are looked at in one step."""

REACH = 0.95
"""Share of the foreground that is nearer than the radial reach (SPEC)."""

Mask: TypeAlias = NDArray[np.uint8]
"""Shape (height, width); 1 is inside."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Lengths in pixels, `reach` in core radii, shares from 0 to 1. None where a value does not exist."""

    index: float
    reach: float
    dispersed: float
    fragments: int
    largest: float | None
    solidity: float | None
    holes: int
    core_diameter: float
    whole_diameter: float


def panel(polygons: Sequence[Polygon], width: int, height: int) -> Generator[None, None, Panel | None]:
    """The panel of one image; None without a pixel of a core. Gives None at places to look for a cancel."""
    if not any(polygon.part_class == "core" for polygon in polygons):
        return None
    box = _box([polygon.points for polygon in polygons], width, height)
    whole = np.zeros((max(box.height, 0), max(box.width, 0)), np.uint8)
    core = np.zeros_like(whole)
    for polygon in polygons:
        targets = (whole, core) if polygon.part_class == "core" else (whole,)
        yield from _paint(targets, polygon, box)
    core_pixels, centre = yield from _centre(core)
    if not core_pixels:
        return None
    radius = np.sqrt(core_pixels / np.pi)
    index, reach, pixels = yield from _radial(whole, centre, radius)
    del core
    fragments = yield from _fragments(whole)
    holes = yield from _holes(whole)
    return Panel(
        index=index,
        reach=reach,
        dispersed=(pixels - core_pixels) / pixels,
        fragments=len(fragments),
        largest=float(fragments.max() / fragments.sum()) if len(fragments) else None,
        solidity=_solidity(whole, pixels),
        holes=holes,
        core_diameter=2 * float(radius),
        whole_diameter=2 * float(np.sqrt(pixels / np.pi)),
    )


# --- rasters ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Box:
    """A part of the image: column and row of its first pixel, and its size; the size of the image."""

    left: int
    top: int
    width: int
    height: int
    image_width: int
    image_height: int


def _box(outlines: Sequence[Points], width: int, height: int) -> _Box:
    """Around everything, with room for the closing, as far as it is in the image."""
    found = boxes(Rings.of(outlines))
    low = np.floor(found[:, :2].min(axis=0)).astype(int) - MARGIN
    high = np.ceil(found[:, 2:].max(axis=0)).astype(int) + MARGIN
    left, top = np.clip(low, 0, (width, height)).tolist()
    right, bottom = np.clip(high, 0, (width, height)).tolist()
    return _Box(left, top, right - left, bottom - top, width, height)


def _paint(targets: Sequence[Mask], polygon: Polygon, box: _Box) -> Generator[None, None, None]:
    """Sets the polygon's pixels."""
    inside = ObjectPixels(polygon, box.image_width, box.image_height)
    yield
    for rows, columns in inside.steps():
        for target in targets:
            target[rows - box.top, columns - box.left] = 1
        yield


def _stripes(mask: Mask) -> Generator[tuple[int, Mask], None, None]:
    """First row and rows of each step."""
    rows = max(1, STRIPE // max(mask.shape[1], 1))
    for top in range(0, len(mask), rows):
        yield top, mask[top : top + rows]


def _centre(mask: Mask) -> Generator[None, None, tuple[int, tuple[float, float]]]:
    """Pixels of the mask, and their mean column and row."""
    in_columns, in_rows = np.zeros(mask.shape[1], np.int64), np.zeros(len(mask), np.int64)
    for top, stripe in _stripes(mask):
        in_columns += stripe.sum(axis=0, dtype=np.int64)
        in_rows[top : top + len(stripe)] = stripe.sum(axis=1, dtype=np.int64)
        yield
    count = int(in_rows.sum())
    x, y = (float(np.arange(len(n)) @ n) / max(count, 1) for n in (in_columns, in_rows))
    return count, (x, y)


def _radial(mask: Mask, centre: tuple[float, float], radius: float) -> Generator[None, None, tuple[float, float, int]]:
    """Disintegration index, radial reach and number of pixels of the foreground."""
    stripes = []
    for top, stripe in _stripes(mask):
        rows, columns = np.nonzero(stripe)
        stripes.append(np.sort(np.hypot(columns - centre[0], rows + (top - centre[1])) / radius))
        yield
    pixels = sum(map(len, stripes))
    place = REACH * (pixels - 1)  # between two pixels in order of distance, as numpy's percentile has it
    around: list[float] = []
    deviation, done = 0.0, 0
    for part in _ascending(stripes, pixels):
        order = np.arange(done, done + len(part))
        deviation += float(np.abs(part - np.sqrt((order + 0.5) / pixels)).sum())
        around += part[(order >= int(place)) & (order <= int(place) + 1)].tolist()
        done += len(part)
        yield
    reach = around[0] + (around[-1] - around[0]) * (place - int(place))
    return float(np.tanh(deviation / pixels)), reach, pixels


def _ascending(stripes: Sequence[Floats], count: int) -> Iterator[Floats]:
    """The values of sorted stripes, all in order, in parts of about a stripe: rings around the centre."""
    farthest = max(stripe[-1] for stripe in stripes if len(stripe))
    bounds = np.linspace(0, farthest, count // STRIPE + 2)
    bounds[-1] = np.inf
    cuts = [np.searchsorted(stripe, bounds) for stripe in stripes]
    for i in range(len(bounds) - 1):
        yield np.sort(np.concatenate([stripe[cut[i] : cut[i + 1]] for stripe, cut in zip(stripes, cuts, strict=True)]))


# --- what is in them ----------------------------------------------------------------------------------------------------


def _fragments(mask: Mask) -> Generator[None, None, NDArray[np.int64]]:
    """Sizes of the 8-connected pieces after closing that count."""
    closed = yield from _closed(mask)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    yield
    sizes = statistics[1:, cv2.CC_STAT_AREA].astype(np.int64)
    return sizes[sizes >= SMALLEST]


def _closed(mask: Mask) -> Generator[None, None, Mask]:
    """In stripes, each with what is around it that it depends on."""
    side = 2 * CLOSING_RADIUS + 1
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = np.empty_like(mask)
    for top, stripe in _stripes(mask):
        above = max(top - MARGIN, 0)
        around = mask[above : top + len(stripe) + MARGIN]
        closed[top : top + len(stripe)] = cv2.morphologyEx(around, cv2.MORPH_CLOSE, ellipse)[top - above :][
            : len(stripe)
        ]
        yield
    return closed


def _holes(mask: Mask) -> Generator[None, None, int]:
    """How many 4-connected regions of background that count do not reach the edge."""
    background = cv2.copyMakeBorder(1 - mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    yield
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
    yield
    enclosed = statistics[:, cv2.CC_STAT_AREA] >= SMALLEST
    enclosed[[0, labels[0, 0]]] = False  # the foreground, and what is around everything
    return int(enclosed.sum())


def _solidity(mask: Mask, pixels: int) -> float | None:
    """Pixels over the area of the hull around their centres, which is smaller than the pixels of a convex object."""
    first, last = mask.argmax(axis=1), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    rows = np.flatnonzero(mask.any(axis=1))
    ends = np.concatenate([np.stack([side[rows], rows], axis=1) for side in (first, last)]).astype(np.int32)
    area = float(cv2.contourArea(cv2.convexHull(ends)))
    return min(1.0, pixels / area) if area > 0 else None
