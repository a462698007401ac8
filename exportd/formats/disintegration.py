"""How far a spheroid has fallen apart around its core: the panel at the end of SPEC appendix A.

Everything is counted on rasters by the pixel-centre rule, like the masks of COCO. The foreground is the union of all
external polygons, cores among them, without their holes. Only the box around it is ever a raster. Work is done in steps
with None given in between, so that a cancel is heard.
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
from exportd.formats.streaming import batches

CLOSING_RADIUS = 2
"""Pixels, of the ellipse that closes gaps between fragments (SPEC)."""

SMALLEST = 30
"""Pixels of a fragment, and of a hole, that counts (SPEC)."""

MARGIN = 2 * CLOSING_RADIUS
"""Pixels around the foreground that closing looks at."""

STRIPE = 1 << 17
"""Pixels that are looked at in one step."""

REACH = 0.95
"""Share of the foreground that is nearer than the radial reach (SPEC)."""

RUNS = 4000
"""Runs of pixels that are painted in one step."""

Mask: TypeAlias = NDArray[np.uint8]
"""Shape (width, height), as runs come column by column; 1 is inside."""


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
    whole = yield from _painted(polygons, box)
    core = yield from _painted([polygon for polygon in polygons if polygon.part_class == "core"], box)
    core_pixels, centre = yield from _centre(core)
    if not core_pixels:
        return None
    radius = np.sqrt(core_pixels / np.pi)
    index, reach, pixels = yield from _radial(whole, centre, radius)
    del core
    fragments = yield from _fragments(whole)
    holes = yield from _holes(whole)
    solidity = yield from _solidity(whole, pixels)
    return Panel(
        index=index,
        reach=reach,
        dispersed=(pixels - core_pixels) / pixels,
        fragments=len(fragments),
        largest=float(fragments.max() / fragments.sum()) if len(fragments) else None,
        solidity=solidity,
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


def _painted(polygons: Sequence[Polygon], box: _Box) -> Generator[None, None, Mask]:
    """The union of the polygons, in the box."""
    flat = np.zeros(box.width * box.image_height, np.uint8)  # whole columns, as runs may go on in the next one
    for polygon in polygons:
        runs = ObjectPixels(polygon, box.image_width, box.image_height).runs - box.left * box.image_height
        yield
        for some in batches(runs.tolist(), RUNS):
            for begin, end in some:
                flat[begin:end] = 1
            yield
    return flat.reshape(box.width, box.image_height)[:, box.top : box.top + box.height]


def _stripes(mask: Mask) -> Iterator[tuple[int, Mask]]:
    """Columns for one step, and the first one's place."""
    columns = max(1, STRIPE // max(mask.shape[1], 1))
    for left in range(0, len(mask), columns):
        yield left, mask[left : left + columns]


def _centre(mask: Mask) -> Generator[None, None, tuple[int, tuple[float, float]]]:
    """Pixels of the mask, and their mean column and row."""
    in_columns, in_rows = np.zeros(len(mask), np.int64), np.zeros(mask.shape[1], np.int64)
    for left, stripe in _stripes(mask):
        in_columns[left : left + len(stripe)] = stripe.sum(axis=1, dtype=np.int64)
        in_rows += stripe.sum(axis=0, dtype=np.int64)
        yield
    count = int(in_rows.sum())
    x, y = (float(np.arange(len(n)) @ n) / max(count, 1) for n in (in_columns, in_rows))
    return count, (x, y)


def _radial(mask: Mask, centre: tuple[float, float], radius: float) -> Generator[None, None, tuple[float, float, int]]:
    """Disintegration index, radial reach and number of pixels of the foreground."""
    stripes = []
    for left, stripe in _stripes(mask):
        columns, rows = np.nonzero(stripe)
        stripes.append(np.sort(np.hypot(columns + (left - centre[0]), rows - centre[1]) / radius))
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


def _closed(mask: Mask) -> Generator[None, None, Mask]:
    """In stripes, each with what is around it that it depends on."""
    side = 2 * CLOSING_RADIUS + 1
    # Lying and standing the ellipse is not the same, and here columns are rows.
    ellipse = np.ascontiguousarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).T)
    closed = np.empty_like(mask)
    for left, stripe in _stripes(mask):
        before = max(left - MARGIN, 0)
        around = np.ascontiguousarray(mask[before : left + len(stripe) + MARGIN])
        found = cv2.morphologyEx(around, cv2.MORPH_CLOSE, ellipse)
        closed[left : left + len(stripe)] = found[left - before :][: len(stripe)]
        yield
    return closed


def _fragments(mask: Mask) -> Generator[None, None, NDArray[np.int64]]:
    """Sizes of the 8-connected pieces after closing that count."""
    closed = yield from _closed(mask)
    sizes, _ = yield from _regions(closed, 1, 8)
    return sizes[sizes >= SMALLEST]


def _holes(mask: Mask) -> Generator[None, None, int]:
    """How many 4-connected regions of background that count do not reach the edge."""
    sizes, at_edge = yield from _regions(mask, 0, 4)
    return int(((sizes >= SMALLEST) & ~at_edge).sum())


def _regions(
    mask: Mask, value: int, connectivity: int
) -> Generator[None, None, tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Sizes of the connected regions of a value, and whether each reaches the edge of the mask.

    Stripe by stripe; what touches across a border between two is one region.
    """
    sizes, at_edge, parents = list[int](), list[bool](), list[int]()
    before = np.full(mask.shape[1], -1)
    shifts = (-1, 0, 1) if connectivity == 8 else (0,)
    for left, stripe in _stripes(mask):
        _, labels, table, _ = cv2.connectedComponentsWithStats(
            (stripe == value).astype(np.uint8), connectivity=connectivity
        )
        x, y, width, height, area = table[1:].T
        edge = (x == 0) | (x + width == mask.shape[1]) | ((left == 0) & (y == 0))
        edge |= (left + len(stripe) == len(mask)) & (y + height == len(stripe))
        base = len(parents)
        parents += range(base, base + len(area))
        sizes += area.tolist()
        at_edge += edge.tolist()
        first, last = (np.where(column > 0, column + (base - 1), -1) for column in (labels[0], labels[-1]))
        for shift in shifts:
            here = first[max(0, -shift) : len(first) - max(0, shift)]
            there = before[max(0, shift) : len(before) - max(0, -shift)]
            for one, other in np.unique(np.stack([here, there])[:, (here >= 0) & (there >= 0)], axis=1).T.tolist():
                parents[_root(parents, one)] = _root(parents, other)
        before = last
        yield
    roots = np.array([_root(parents, i) for i in range(len(parents))], np.intp)
    totals = np.bincount(roots, sizes, len(roots)).astype(np.int64)
    edges = np.bincount(roots, at_edge, len(roots)) > 0
    own = roots == np.arange(len(roots))
    return totals[own], edges[own]


def _root(parents: list[int], region: int) -> int:
    while parents[region] != region:
        parents[region] = parents[parents[region]]  # shortens the way for the next
        region = parents[region]
    return region


def _solidity(mask: Mask, pixels: int) -> Generator[None, None, float | None]:
    """Pixels over the area of the hull around their centres, which is smaller than the pixels of a convex object."""
    ends = []
    for left, stripe in _stripes(mask):
        columns = np.flatnonzero(stripe.any(axis=1))
        first = stripe.argmax(axis=1)[columns]
        last = stripe.shape[1] - 1 - stripe[:, ::-1].argmax(axis=1)[columns]
        ends += [np.stack([columns + left, rows], axis=1) for rows in (first, last)]
        yield
    area = float(cv2.contourArea(cv2.convexHull(np.concatenate(ends).astype(np.int32))))
    return min(1.0, pixels / area) if area > 0 else None
