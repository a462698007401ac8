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
from exportd.core.geometry import Floats, Indices, starts_of
from exportd.formats.object_pixels import STEP, ObjectPixels
from exportd.formats.raster import Runs, runs, stretches

CHANNELS = 3
"""Columns that a table has. Grey images fill the first."""

STATISTICS = ("Mean", "SD", "Minimum", "Maximum", "Median", "Integrated")


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
    height, width = pixels.shape[:2]
    found = np.full((len(polygons), CHANNELS, len(STATISTICS)), np.nan)
    for places in stretches(polygons, width):
        some = polygons[places.start : places.stop]
        inside = runs(some, width, height)
        yield
        counts = np.bincount(inside.owners, inside.lengths, len(some)).astype(np.intp)
        for i in np.flatnonzero(counts > STEP).tolist():
            large = ObjectPixels(some[i], width, height)
            for c, channel in enumerate(channels):
                found[places[i], c] = yield from _large(large, channel)
        small = np.where(counts > STEP, 0, counts)
        which = np.cumsum(small) // STEP
        for step in np.unique(which[small > 0]).tolist():
            _small(inside.of((which == step) & (small > 0)), pixels, found[places.start :])
            yield
    return found


def _small(inside: Runs, pixels: Pixels, found: Floats) -> None:
    """Fills in the statistics of several objects that together are not many pixels."""
    at = _places(inside, *pixels.shape[:2])
    objects, which = np.unique(inside.owners, return_inverse=True)
    owners = np.repeat(which, inside.lengths)
    for c, channel in enumerate(channels_of(pixels)):
        values = _values(pixels, channel, c, at)
        if values.dtype == np.uint8:
            found[objects, c] = _counted(values.view(np.uint8), owners, len(objects))
        else:
            numbers, owner = _finite(values, owners)
            if len(numbers):
                present = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
                found[objects[owner[present]], c] = _statistics(numbers, present)


def _places(inside: Runs, height: int, width: int) -> Indices:
    """Row times width plus column of all pixels."""
    columns, lengths = inside.begins // height, inside.lengths
    places: Indices
    if (inside.ends > (columns + 1) * height).any():  # a run goes on in the next column
        column, row = np.divmod(inside.places(), height)
        places = row * width + column
        return places
    # In a column the next pixel is one width on.
    first = (inside.begins - columns * height) * width + columns
    places = np.repeat(first - starts_of(lengths) * width, lengths) + np.arange(lengths.sum()) * width
    return places


def _values(pixels: Pixels, channel: Pixels, number: int, at: Indices) -> NDArray[np.generic]:
    if not pixels.flags.c_contiguous:
        return channel[np.divmod(at, channel.shape[1])]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    return pixels.reshape(-1).take(at if samples == 1 else at * samples + number)


def _counted(values: NDArray[np.uint8], owners: Indices, count: int) -> Floats:
    """A row for each of `count` objects, of how often each has each value: there are few of these, and nothing is sorted."""
    levels = np.arange(256)
    histograms = np.bincount(owners * 256 + values, minlength=256 * count).reshape(count, 256)
    until = np.cumsum(histograms, axis=1)
    counts, total = until[:, -1], histograms @ levels
    mean = total / counts
    spread = np.einsum("ij,ij->i", histograms, (levels - mean[:, None]) ** 2)
    low, high = ((until <= place[:, None]).sum(axis=1) for place in ((counts - 1) // 2, counts // 2))
    least, greatest = (until == 0).sum(axis=1), (until < counts[:, None]).sum(axis=1)
    return np.stack([mean, np.sqrt(spread / counts), least, greatest, (low + high) / 2, total], axis=1)


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
