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

import numpy as np
import tifffile
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from exportd.core.dataset import Annotation, Dataset, Image, Polygon
from exportd.core.geometry import Floats, Indices, Regions, Rings, boxes, region_areas
from exportd.core.options import ExportOptions
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.png import png
from exportd.formats.raster import Mask, Span, mask, pixels
from exportd.formats.rle import run_lengths
from exportd.formats.streaming import Losses, batches, size_of

FOLDER = "annotations/labels/"

STRIP_PIXELS = 1 << 19
"""Of a strip, about; painted, packed and coloured in some milliseconds each."""

SMALL = 1 << 13
"""Pixels of the box, and columns times vertices: what an object may take at most to be painted with others."""

BATCH = 100
"""Small objects that are painted at once: 10 times as fast as one by one."""

LEVEL = 3
"""Of zlib's 1 to 9; labels pack well at any, and fast."""

GOLDEN = (5**0.5 - 1) / 2
"""Turn of hue from a number to the next: colours of numbers near to each other are far apart."""

Labels: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32]
Colours: TypeAlias = NDArray[np.uint8]
Ranks: TypeAlias = NDArray[np.int32]


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
        seen = np.zeros(self._canvas.greatest + 1, bool)
        for top in range(0, self._height, self._rows):
            strip = yield from self._canvas.painted(top, min(self._rows, self._height - top))
            seen[strip.ravel()] = True
            self._strips.append(zlib_ng.compress(strip.tobytes(), LEVEL))
            yield b""
        self.hidden = int((~seen[self._canvas.numbers]).sum())
        yield self._file()

    def preview(self) -> Iterator[bytes]:
        """The same labels in colours, from the packed strips."""
        palette = colours(self._canvas.greatest)
        return png(
            self._width, self._height, 3, (palette.take(self._unpacked(strip), axis=0) for strip in self._strips)
        )

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


class _Canvas:
    """The polygons of one image by rank: the largest has rank 1, and of those at a pixel the highest rank is on top."""

    def __init__(self, polygons: Sequence[Polygon], width: int, height: int) -> None:
        order = np.argsort(-region_areas(Regions.of(polygons)), kind="stable").tolist()
        self._polygons = [polygons[i] for i in order]
        self._size = width, height
        extents = boxes(Rings.of([polygon.points for polygon in self._polygons]))
        self._low = np.clip(np.floor(extents[:, :2]), 0, self._size).astype(np.intp)
        self._high = np.clip(np.ceil(extents[:, 2:]), 0, self._size).astype(np.intp)
        self._small = self._are_small()
        self.numbers = np.array([polygon.number for polygon in self._polygons], np.intp)
        self.greatest = int(self.numbers.max(initial=0))
        self.dtype = np.dtype("<u2" if self.greatest <= np.iinfo(np.uint16).max else "<u4")
        self._by_rank = np.concatenate([[0], self.numbers]).astype(self.dtype)

    def _are_small(self) -> Mask:
        """Those that are painted many at once: without holes, and of few pixels and crossings of edges and columns."""
        vertices = np.array([len(polygon.points) for polygon in self._polygons], np.intp)
        filled = np.array([not polygon.holes for polygon in self._polygons], bool)
        columns, rows = (self._high - self._low).T
        small: Mask = filled & (columns * (rows + vertices) <= SMALL)
        return small

    def painted(self, top: int, rows: int) -> Generator[bytes, None, Labels]:
        """The labels of the rows from `top` on; an empty chunk after each large object and each batch of small ones."""
        ranks = np.zeros((rows, self._size[0]), np.int32)
        first, last = np.maximum(self._low[:, 1], top), np.minimum(self._high[:, 1], top + rows)
        here = (first < last) & (self._low[:, 0] < self._high[:, 0])
        for i in np.flatnonzero(here & ~self._small).tolist():
            self._paint_one(ranks, top, i, (first[i], last[i]))
            yield b""
        for many in batches(np.flatnonzero(here & self._small).tolist(), BATCH):
            self._paint_many(ranks, top, np.array(many))
            yield b""
        return self._by_rank.take(ranks)

    def _paint_one(self, ranks: Ranks, top: int, i: int, rows: Span) -> None:
        polygon, columns = self._polygons[i], (self._low[i, 0], self._high[i, 0])
        runs = run_lengths(polygon.points, polygon.holes, *self._size)
        inside = mask(np.cumsum(runs), self._size[1], columns, rows)
        part = ranks[rows[0] - top : rows[1] - top, columns[0] : columns[1]]
        np.maximum(part, i + 1, out=part, where=inside)

    def _paint_many(self, ranks: Ranks, top: int, which: Indices) -> None:
        place, owner = pixels(Rings.of([self._polygons[i].points for i in which]), *self._size)
        column, row = np.divmod(place, self._size[1])
        within = (row >= top) & (row < top + len(ranks))
        at = (row[within] - top) * self._size[0] + column[within]
        np.maximum.at(ranks.reshape(-1), at, which[owner[within]].astype(np.int32) + 1)


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
