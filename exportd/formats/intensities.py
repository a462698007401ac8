"""Brightness of objects: statistics of the raw values of their pixels, by channel.

An object's pixels are those of its COCO mask (pixel-centre rule, holes out, cut at the edge of the image). Values are as
stored, not scaled; alpha is no channel; what is no finite number is ignored. The standard deviation is that of a
population (divided by n): these pixels are all there are.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from exportd.core.dataset import Pixels, Polygon
from exportd.core.geometry import Floats, Indices
from exportd.formats.object_pixels import STEP, ObjectPixels

CHANNELS = 3
"""Columns that a table has. Grey images fill the first."""

STATISTICS = ("Mean", "SD", "Minimum", "Maximum", "Median", "Integrated")

TOGETHER = 40
"""Objects that are looked at in one step, if they are small."""


def channels_of(pixels: Pixels) -> list[Pixels]:
    """Grey, or R, G and B, each of shape (height, width), without alpha."""
    if pixels.ndim == 2:
        return [pixels]
    count = pixels.shape[2]
    return [pixels[:, :, i] for i in range(1 if count < CHANNELS else CHANNELS)]


def intensities(polygons: Sequence[Polygon], pixels: Pixels) -> Generator[None, None, Floats]:
    """Shape (polygons, channels, statistics), NaN for channels that the image lacks and objects without a pixel.

    Gives None at places to look for a cancel.
    """
    channels = channels_of(pixels)
    found = np.full((len(polygons), CHANNELS, len(STATISTICS)), np.nan)
    pending: list[tuple[int, ObjectPixels]] = []
    size = 0
    for i, polygon in enumerate(polygons):
        inside = ObjectPixels(polygon, pixels.shape[1], pixels.shape[0])
        if inside.count > STEP:
            for c, channel in enumerate(channels):
                found[i, c] = yield from _large(inside, channel)
            continue
        pending.append((i, inside))
        size += inside.count
        if size > STEP // 2 or len(pending) == TOGETHER:
            yield from _small(pending, channels, found)
            pending, size = [], 0
    yield from _small(pending, channels, found)
    return found


def _small(
    objects: Sequence[tuple[int, ObjectPixels]], channels: Sequence[Pixels], found: Floats
) -> Generator[None, None, None]:
    """Fills in the statistics of several objects that together are not many pixels."""
    objects = [(i, inside) for i, inside in objects if inside.count]
    if not objects:
        return
    places = [inside.part(0, inside.count) for _, inside in objects]
    rows, columns = (np.concatenate(axis) for axis in zip(*places, strict=True))
    which = np.array([i for i, _ in objects])
    owners = np.repeat(which, [inside.count for _, inside in objects])
    for c, channel in enumerate(channels):
        values, owner = _finite(channel[rows, columns], owners)
        if len(values):
            present = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
            found[owner[present], c] = _statistics(values, present)
        yield


def _finite(values: NDArray[np.generic], owners: Indices) -> tuple[Floats, Indices]:
    numbers = values.astype(np.float64)
    good = np.isfinite(numbers)
    return (numbers, owners) if good.all() else (numbers[good], owners[good])


def _statistics(values: Floats, starts: Indices) -> Floats:
    """A row for each stretch of values of one owner."""
    counts = np.diff(starts, append=len(values))
    ascending = values.copy()
    for stretch in np.split(ascending, starts[1:]):
        stretch.sort()  # twenty times as fast as one sort by owner and value
    total = np.add.reduceat(values, starts)
    mean = total / counts
    spread = np.add.reduceat((values - np.repeat(mean, counts)) ** 2, starts)
    median = (ascending[starts + (counts - 1) // 2] + ascending[starts + counts // 2]) / 2
    least, greatest = ascending[starts], ascending[starts + counts - 1]
    return np.stack([mean, np.sqrt(spread / counts), least, greatest, median, total], axis=1)


# --- objects of millions of pixels --------------------------------------------------------------------------------------


def _large(inside: ObjectPixels, channel: Pixels) -> Generator[None, None, Floats]:
    """Of one object, in steps. Values of 8 and 16 bits are counted; others are kept and sorted, in one go."""
    narrow = channel.dtype.kind in "bu" and channel.dtype.itemsize <= 2
    histogram = np.zeros(1 << 16, np.int64)
    kept = []
    for places in inside.steps():
        values = channel[places]
        if narrow:
            histogram += np.bincount(values.astype(np.intp), minlength=1 << 16)
        else:
            kept.append(values[np.isfinite(values)])
        yield
    levels, counts = (
        (np.flatnonzero(histogram), histogram[histogram > 0])
        if narrow
        else np.unique(np.concatenate(kept), return_counts=True)
    )
    if not len(levels):
        return np.full(len(STATISTICS), np.nan)
    numbers = levels.astype(np.float64)
    until, total = np.cumsum(counts), float(numbers @ counts)
    count = int(until[-1])
    mean = total / count
    middle = np.searchsorted(until, [(count - 1) // 2, count // 2], side="right")
    deviation = np.sqrt(float((numbers - mean) ** 2 @ counts) / count)
    return np.array([mean, deviation, numbers[0], numbers[-1], numbers[middle].mean(), total])
