"""Pixels of TIFF (6.0 and BigTIFF), by tifffile: strip by strip or tile by tile, with a look for a cancel between them.

Orientation is left alone. A strip that is not compressed, or by DEFLATE, may have any length; one that is large and
compressed otherwise is one step.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from tifffile import TIFF, TiffFile, TiffPage

from exportd.core.dataset import Pixels
from exportd.errors import UnreadableImage
from exportd.store.listening import CUT_OFF, DAMAGED, UNKNOWN_KIND, Listening, reason, refuse_large

# What it has to say about odd files is for those who look into one. Set once, for all threads.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

PIECE = 4 << 20
"""Bytes of a large strip that are decoded in one step."""

_STORED, _JPEG, _DEFLATE = 1, (6, 7), (8, 32946)
_COMPRESSIONS = {_STORED, 2, 3, 4, 5, *_JPEG, *_DEFLATE, 32773, 34925, 50000}
"""None, CCITT, LZW, JPEG, DEFLATE, PackBits, LZMA, Zstandard: those whose output cannot be larger than announced."""

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {_MIN_IS_WHITE: 1, _MIN_IS_BLACK: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
"""Samples of a pixel by photometric interpretation, without those that are extra."""

_ALPHA = (1, 2)
_ALIGNED = (1, 8, 16, 32, 64)
_NAMELESS = "image.tif"
"""tifffile wants a name, and the descriptor has none."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

Segment = tuple[Pixels, int, int, int]
"""Pixels of shape (rows, columns, channels), and the row, column and channel where they begin."""


def is_tiff(file: Listening) -> bool:
    """By the first bytes; leaves the file at its begin."""
    head = file.read(4)
    file.seek(0)
    return head in _MAGIC


def tiff_size(file: Listening) -> tuple[int, int]:
    """Width and height of the first page's pixel grid. Raises `UnreadableImage`."""
    try:
        with TiffFile(file, name=_NAMELESS) as tif:
            page = _first_page(tif)
            return page.imagewidth, page.imagelength
    except Exception as error:  # whatever the library may raise for broken input
        raise UnreadableImage(reason(file, error)) from error


def tiff(file: Listening) -> Pixels:
    """The pixels of the first page. Raises `UnreadableImage`, and whatever the library does with a bad file."""
    with TiffFile(file, name=_NAMELESS) as tif:
        page = _first_page(tif)
        form = _form(page)
        pixels = np.zeros((page.imagelength, page.imagewidth, form.channels), form.dtype)
        for segment, top, left, channel in _segments(page, file, form.samples):
            room = pixels[top : top + segment.shape[0], left : left + segment.shape[1]]
            found = form.finish(segment[: room.shape[0], : room.shape[1]])  # a tile may reach beyond the image
            room[..., channel : channel + found.shape[2]] = found
        return pixels[..., 0] if form.channels == 1 else pixels


def _first_page(tif: TiffFile) -> TiffPage:
    page = tif.pages.first
    sizes = [page.imagewidth, page.imagelength]
    if not (isinstance(page, TiffPage) and all(isinstance(size, int) and size > 0 for size in sizes)):
        raise UnreadableImage(DAMAGED)
    return page


@dataclass(frozen=True, slots=True)
class _Form:
    """How samples become pixels."""

    samples: int
    """The first so many of each stored pixel are used."""
    channels: int
    dtype: np.dtype[np.generic]
    finish: Callable[[Pixels], Pixels]


def _form(page: TiffPage) -> _Form:
    """Raises `UnreadableImage` for what is not known or too large; nothing is allocated before."""
    kind, stored, dtype = int(page.photometric), page.samplesperpixel, page.dtype
    if kind not in _COLOURS or page.compression not in _COMPRESSIONS or dtype is None or dtype.kind not in "buif":
        raise UnreadableImage(UNKNOWN_KIND)
    colours = _COLOURS[kind]
    ycbcr = kind == _YCBCR and page.compression not in _JPEG
    if stored < colours or ycbcr or (kind == _CMYK and (page.planarconfig != 1 or dtype.kind != "u")):
        raise UnreadableImage(UNKNOWN_KIND)
    alpha = len(page.extrasamples) > 0 and int(page.extrasamples[0]) in _ALPHA and kind not in (_PALETTE, _CMYK)
    samples = colours + (alpha and stored > colours)
    refuse_large(*_segment_size(page), stored * dtype.itemsize)
    refuse_large(page.imagewidth, page.imagelength, max(3, samples) * dtype.itemsize)
    if kind == _PALETTE:
        return _Form(1, 3, np.dtype(np.uint8), _palette(page))
    if kind == _CMYK:
        return _Form(4, 3, dtype, _ink)
    if colours == 1:
        return _Form(samples, samples, dtype, _grey(page, samples, inverted=kind == _MIN_IS_WHITE))
    return _Form(samples, samples, dtype, lambda segment: segment[..., :samples])


def _palette(page: TiffPage) -> Callable[[Pixels], Pixels]:
    if page.colormap is None:
        raise UnreadableImage(DAMAGED)
    entries = np.asarray(page.colormap)
    # Of 16 bits; some programs write 8.
    table = (entries >> 8 if entries.max(initial=0) > 0xFF else entries).astype(np.uint8).T
    return lambda segment: table[segment[..., 0].astype(np.intp)]


def _ink(segment: Pixels) -> Pixels:
    """CMYK of any depth to RGB, the plain way: each colour is what its ink and the black leave of the light."""
    full = float((1 << 8 * segment.dtype.itemsize) - 1)
    light = full - segment[..., :4].astype(np.float64)
    return np.rint(light[..., :3] * light[..., 3:] / full).astype(segment.dtype)


def _grey(page: TiffPage, samples: int, *, inverted: bool) -> Callable[[Pixels], Pixels]:
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    spread = 255 // ((1 << bits) - 1) if 1 < bits < 8 else 1

    def finish(segment: Pixels) -> Pixels:
        grey = segment[..., :samples]
        if inverted and grey.dtype.kind in "bu":
            brightest = grey.dtype.type((1 << bits) - 1)
            grey = np.concatenate([np.bitwise_xor(grey[..., :1], brightest), grey[..., 1:]], axis=2)
        return np.multiply(grey, spread, dtype=np.uint8) if spread > 1 else grey

    return finish


# --- strips and tiles ---------------------------------------------------------------------------------------------------


def _segments(page: TiffPage, file: Listening, samples: int) -> Iterator[Segment]:
    """Of the first plane, in the order of the file's list. One that has no bytes is all zeros and left out."""
    offsets, counts = page.dataoffsets, page.databytecounts
    planes, depth, height, width, _ = page.shaped
    rows, columns = _segment_size(page)
    each_layer = -(-height // rows) * -(-width // columns)
    each_plane = each_layer * -(-depth // (page.tiledepth if page.is_tiled else 1))
    if min(len(offsets), len(counts)) < planes * each_plane:
        raise UnreadableImage(DAMAGED)
    planes = min(planes, samples)
    for index in (plane * each_plane + place for plane in range(planes) for place in range(each_layer)):
        file.listen()
        if not (offsets[index] and counts[index]):
            continue
        if _divisible(page):
            yield from _in_pieces(page, file, index)
        else:
            yield _decoded(page, _bytes(file, offsets[index], counts[index]), index)


def _segment_size(page: TiffPage) -> tuple[int, int]:
    """Rows and columns of a strip or tile."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _bytes(file: Listening, offset: int, count: int) -> bytes:
    file.seek(offset)
    data = file.read(count)
    if len(data) < count:
        raise UnreadableImage(CUT_OFF)
    return data


def _decoded(page: TiffPage, data: bytes, index: int) -> Segment:
    if page.compression in _JPEG:
        _refuse_other_size(page, data)
    segment, (plane, _, top, left, _), _ = page.decode(
        data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
    )
    if segment is None:
        raise UnreadableImage(DAMAGED)
    return segment[0], top, left, plane


def _refuse_other_size(page: TiffPage, data: bytes) -> None:
    """A JPEG tells its own size, and all of that would be allocated."""
    with Image.open(BytesIO(data), formats=("JPEG",)) as image:
        rows, columns = _segment_size(page)
        if image.width > columns or image.height > rows:
            raise UnreadableImage(DAMAGED)


def _row_bytes(page: TiffPage) -> int:
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    return -(-page.imagewidth * samples * page.bitspersample // 8)


def _divisible(page: TiffPage) -> bool:
    """A strip too large for one step, of which any rows can be decoded."""
    return (
        not page.is_tiled
        and (page.compression == _STORED or page.compression in _DEFLATE)
        and page.shaped[1] == 1
        and page.predictor in (1, 2, 3)
        and page.bitspersample in _ALIGNED
        and page.fillorder == 1
        and _segment_size(page)[0] * _row_bytes(page) > PIECE
    )


def _in_pieces(page: TiffPage, file: Listening, index: int) -> Iterator[Segment]:
    each_plane = -(-page.imagelength // page.rowsperstrip)
    plane, strip = divmod(index, each_plane)
    top = strip * page.rowsperstrip
    end = min(top + page.rowsperstrip, page.imagelength)
    step = max(1, PIECE // _row_bytes(page))
    stream = _Stream(file, page.dataoffsets[index], page.databytecounts[index], page.compression != _STORED)
    for row in range(top, end, step):
        rows = min(step, end - row)
        yield _rows(page, stream.take(rows * _row_bytes(page)), rows), row, 0, plane


def _rows(page: TiffPage, data: bytes, rows: int) -> Pixels:
    if page.bitspersample == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(rows, -1), axis=1)
        samples = page.samplesperpixel if page.planarconfig == 1 else 1
        return bits[:, : page.imagewidth * samples].reshape(rows, page.imagewidth, samples).view(np.bool_)
    # Of floats that were made ready for compression the bytes are sorted: no byte order is left.
    order = "=" if page.predictor == 3 else page.parent.byteorder
    dtype = np.dtype(page.dtype).newbyteorder(order)
    pixels: Pixels = np.frombuffer(data, dtype).reshape(rows, page.imagewidth, -1)
    if page.predictor == 1:
        return pixels
    pixels = pixels.astype(dtype.newbyteorder("="))
    undone: Pixels = TIFF.UNPREDICTORS[page.predictor](pixels, axis=-2, out=pixels)
    return undone


class _Stream:
    """The bytes of a strip, inflated where they are compressed, as much at a time as is asked for."""

    def __init__(self, file: Listening, offset: int, count: int, compressed: bool) -> None:
        self._file, self._left = file, count
        self._inflate = zlib.decompressobj() if compressed else None
        self._waiting = b""
        file.seek(offset)

    def take(self, size: int) -> bytes:
        """Raises `UnreadableImage` when there are not so many."""
        if self._inflate is None:
            return self._more(size, size)
        parts = []
        while size:
            part = self._inflate.decompress(self._waiting or self._more(min(self._left, PIECE >> 4), 1), size)
            self._waiting = self._inflate.unconsumed_tail
            parts.append(part)
            size -= len(part)
            self._file.listen()
        return b"".join(parts)

    def _more(self, size: int, least: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        if len(data) < least:
            raise UnreadableImage(CUT_OFF)
        return data
