"""Label images: TIFF 6.0 (https://www.loc.gov/preservation/digital/formats/fdd/fdd000022.shtml), a number per pixel.

A pixel has the number of the object that its centre lies in, the same number as on the overlay and in the tables, and 0
for background; the rule is that of `rle`, so an object has the pixels of its COCO mask, whatever its shape. Where objects
overlap, the one with the smallest area lies on top, so that what is nested stays visible. Holes are background, or the
number of what lies in them. 16 bits unless a number needs 32; strips of whole rows, each a DEFLATE stream of its own.

Numbers below a few hundred are black to the eye in a 16-bit picture, so each image has a preview in colours beside it.
Both are made strip by strip: memory is that of one strip, whatever the size of the image, and its packed labels.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from exportd.core.dataset import Annotation, Dataset, Image, Polygon
from exportd.core.geometry import Floats, Regions, Rings, boxes, region_areas
from exportd.core.options import ExportOptions
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.png import png
from exportd.formats.raster import runs, stretches
from exportd.formats.streaming import Losses, batches, size_of

FOLDER = "annotations/labels/"

STRIP_PIXELS = 1 << 19
"""Of a strip, about; painted, packed and coloured in some milliseconds each."""

BATCH = 500
"""Polygons that are measured in one step."""

STEP_RUNS = 1 << 14
"""Runs that are painted between two looks for a cancel: some 5 ms."""

LEVEL = 3
"""Of zlib's 1 to 9; labels pack well at any, and fast."""

MOST_COLOURS = 255
"""Of a preview, besides black: as many as a PNG with a palette has, which is a third of the work of one without. Numbers
that are so far apart share one."""

GOLDEN = (5**0.5 - 1) / 2
"""Turn of hue from a number to the next: colours of numbers near to each other are far apart."""

Labels: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32]
Colours: TypeAlias = NDArray[np.uint8]


def labels(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:
    """Two members per image: labels, then their preview, which is made from the packed labels, so in this order.

    An image without objects gets labels that are all background. Images of unknown size are left out.
    """
    del options
    losses = Losses("Label images")
    hidden = 0
    for image, annotation in dataset.annotated():
        if (size := size_of(image)) is None:
            losses.sizeless(image)
        else:
            losses.lines += len(annotation.polylines)
            picture = _Picture(size, annotation)
            yield _member(image, ".tif", "image/tiff", picture.tiff())
            yield _member(image, "_preview.png", "image/png", picture.preview())
            hidden += picture.hidden
        yield Tick(image.name)
    yield from losses.warnings()
    if hidden:
        why = "outside of the image, too small, or covered by smaller ones."
        yield Warn(
            f"Label images: 1 polygon has no pixel: it is {why}",
            f"Label images: {{count}} polygons have no pixel: they are {why}",
            hidden,
        )


def _member(image: Image, ending: str, media_type: str, chunks: Iterator[bytes]) -> Member:
    return Member(
        f"{FOLDER}{image.stem}{ending}",
        chunks,
        media_type,
        compress=False,
        source_image_id=image.id,
        original_name=image.original_name,
    )


class _Picture:
    """The labels of one image, packed as they are made."""

    def __init__(self, size: tuple[int, int], annotation: Annotation) -> None:
        self._width, self._height = size
        self._canvas = _Canvas(annotation.polygons, *size)
        self._rows = min(self._height, max(1, STRIP_PIXELS // self._width))
        self._strips: list[bytes] = []
        self.hidden = 0
        """Polygons that have no pixel; known when the labels are done."""

    def tiff(self) -> Generator[bytes, None, None]:
        """The file, in one chunk at the end, as its directory tells where each strip is; until then empty chunks."""
        yield from self._canvas.prepare()
        seen = np.zeros(self._canvas.greatest + 1, bool)
        for top in range(0, self._height, self._rows):
            strip = yield from self._canvas.painted(top, min(self._rows, self._height - top))
            seen[_distinct(strip)] = True
            self._strips.append(zlib_ng.compress(strip.tobytes(), LEVEL))
            yield b""
        self.hidden = int((~seen[self._canvas.numbers]).sum())
        yield self._file()

    def preview(self) -> Iterator[bytes]:
        """The same labels in colours, from the packed strips."""
        numbers = np.arange(self._canvas.greatest + 1)
        entries = np.where(numbers, (numbers - 1) % MOST_COLOURS + 1, 0).astype(np.uint8)
        bands = (entries.take(self._unpacked(strip))[..., np.newaxis] for strip in self._strips)
        palette = colours(min(self._canvas.greatest, MOST_COLOURS))
        return png(self._width, self._height, 1, bands, palette=palette)

    def _unpacked(self, strip: bytes) -> Labels:
        flat: Labels = np.frombuffer(zlib_ng.decompress(strip), self._canvas.dtype)
        return flat.reshape(-1, self._width)

    def _file(self) -> bytes:
        file = io.BytesIO()
        with tifffile.TiffWriter(file, byteorder="<", shaped=False) as writer:
            writer.write(
                iter(self._strips),
                shape=(self._height, self._width),
                dtype=self._canvas.dtype,
                photometric="minisblack",
                compression="zlib",
                rowsperstrip=self._rows,
                metadata=None,
                software=False,  # nothing that changes with a version
            )
        return file.getvalue()


def _distinct(labels: Labels) -> Labels:
    """All labels that there are, some of them several times: those at the ends of runs."""
    flat = labels.ravel()
    return np.append(flat[:-1][flat[1:] != flat[:-1]], flat[-1:])


class _Canvas:
    """The polygons of one image, the largest first: each is painted over those before it."""

    def __init__(self, polygons: Sequence[Polygon], width: int, height: int) -> None:
        self._polygons = polygons
        self._width, self._height = width, height
        self._low = self._high = np.empty(0)
        self.numbers = np.array([polygon.number for polygon in polygons], np.intp)
        self.greatest = int(self.numbers.max(initial=0))
        self.dtype = np.dtype("<u2" if self.greatest <= np.iinfo(np.uint16).max else "<u4")

    def prepare(self) -> Iterator[bytes]:
        """Puts the polygons in their order; an empty chunk after some. Before anything is painted."""
        areas, extents = [np.empty(0)], [np.empty((0, 4))]
        for some in batches(self._polygons, BATCH):
            areas.append(region_areas(Regions.of(some)))
            extents.append(boxes(Rings.of([polygon.points for polygon in some])))
            yield b""
        order = np.argsort(-np.concatenate(areas), kind="stable")
        self._polygons, self.numbers = [self._polygons[i] for i in order.tolist()], self.numbers[order]
        rows = np.concatenate(extents)[order][:, [1, 3]]
        self._low, self._high = np.clip(rows, 0, self._height).T

    def painted(self, top: int, rows: int) -> Generator[bytes, None, Labels]:
        """The labels of the rows from `top` on; an empty chunk after some objects."""
        canvas: Labels = np.zeros(self._width * rows, self.dtype)
        here = np.flatnonzero((self._low < top + rows) & (self._high > top)).tolist()
        for places in stretches([self._polygons[i] for i in here], self._width):
            which = here[places.start : places.stop]
            found = runs([self._polygons[i] for i in which], self._width, rows, top)
            numbers = self.numbers[which][found.owners]
            for first in range(0, len(numbers), STEP_RUNS):
                some = (part[first : first + STEP_RUNS].tolist() for part in (found.begins, found.ends, numbers))
                # A run is a slice, as the canvas is held column by column.
                for begin, end, number in zip(*some, strict=True):
                    canvas[begin:end] = number
                yield b""
        # OpenCV knows no unsigned integers of 32 bits.
        columns = canvas.view(canvas.dtype.str.replace("u4", "i4")).reshape(self._width, rows)
        return np.asarray(cv2.transpose(columns)).view(self.dtype)


def colours(greatest: int) -> Colours:
    """A colour for each number from 0 on, R, G, B; black for 0 and for no other."""
    number = np.arange(greatest + 1)
    hue = np.mod(number * GOLDEN, 1)
    value = np.array([1.0, 0.8, 0.6])[number % 3]
    value[0] = 0
    saturation = np.array([0.9, 0.55])[number // 3 % 2]
    channels = [value * (1 - saturation * _faded(hue, turn)) for turn in (5, 3, 1)]
    palette: Colours = np.rint(255 * np.stack(channels, axis=1)).astype(np.uint8)
    return palette


def _faded(hue: Floats, turn: int) -> Floats:
    """How much of a channel is missing at full saturation; the channel is at its strongest around one hue of six."""
    place = (turn + 6 * hue) % 6
    return np.clip(np.minimum(place, 4 - place), 0, 1)
