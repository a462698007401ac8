"""PNG, by https://www.w3.org/TR/png-3/, written band by band: a picture of any size needs memory for some rows only.

Every row has the Sub filter, which is one subtraction in numpy: the usual encoders spend most of their time on a choice
of filters that saves little. In drawings only runs are looked for then (RLE), by zlib-ng. In photographs there are hardly any,
but the three equal differences of a grey pixel repeat those of others: libdeflate finds these, in less time than it takes to
store what they would add. It takes a picture as a whole, so a large one is packed as drawings are. isal's DEFLATE is faster
still, but packs about one picture in a thousand of a busy service to other bytes than the last time, and the same project has
to give the same archive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

Band = NDArray[np.uint8]
"""Some rows of a picture, shape (rows, width, channels)."""

LEVEL = 1
"""Of zlib's 1 to 9 and libdeflate's 1 to 12: where only runs are looked for, more does nothing; with photographs it takes
half as long again for a tenth less."""

WHOLE = 13 << 20
"""Bytes of a photograph, filtered, up to which it is packed as a whole: 2048 pixels squared in RGB, in some 40 ms that do not
listen to a cancel."""

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""By channels: grey, RGB, RGBA."""

_INDEXED = 3
"""The colour type of a picture with a palette."""

_SUB = 1


def png(
    width: int,
    height: int,
    channels: int,
    bands: Iterable[Band],
    *,
    palette: NDArray[np.uint8] | None = None,
    photo: bool = False,
) -> Iterator[bytes]:
    """A picture as PNG, 8 bits a channel: 1 channel is grey, or an index into `palette`, shape (at most 256, 3), where there
    is one; 3 are RGB, 4 are RGBA (alpha not multiplied in).

    `bands` come from top to bottom and have `height` rows together; after each there is a chunk (perhaps empty: a place
    to look for a cancel). `photo` tells that neighbours mostly differ; it changes size and speed. The same picture in other
    bands may give other bytes. Raises ValueError when rows are missing or too many.
    """
    yield b"\x89PNG\r\n\x1a\n"
    colour_type = _COLOUR_TYPES[channels] if palette is None else _INDEXED
    yield from _chunk(b"IHDR", struct.pack(">LL5B", width, height, 8, colour_type, 0, 0, 0))
    if palette is not None:
        yield from _chunk(b"PLTE", palette.tobytes())
    if photo and height * (1 + width * channels) <= WHOLE:
        yield from _packed_whole(_counted(bands, height), (height, width, channels))
    else:
        yield from _packed_in_runs(_counted(bands, height))
    yield from _chunk(b"IEND", b"")


def _counted(bands: Iterable[Band], height: int) -> Iterator[Band]:
    rows = 0
    for band in bands:
        rows += len(band)
        if rows > height:
            break
        yield band
    if rows != height:
        raise ValueError(f"a picture of {height} rows got {rows}")


def _packed_in_runs(bands: Iterable[Band]) -> Iterator[bytes]:
    deflate = zlib_ng.compressobj(LEVEL, strategy=zlib_ng.Z_RLE)
    for band in bands:
        rows, width, channels = band.shape
        packed = deflate.compress(_filtered(band, np.empty((rows, 1 + width * channels), np.uint8)).data)
        yield from _chunk(b"IDAT", packed) if packed else [b""]
    yield from _chunk(b"IDAT", deflate.flush())


def _packed_whole(bands: Iterable[Band], shape: tuple[int, int, int]) -> Iterator[bytes]:
    room = bytearray(shape[0] * (1 + shape[1] * shape[2]))
    whole = np.frombuffer(room, np.uint8).reshape(shape[0], -1)
    top = 0
    for band in bands:
        _filtered(band, whole[top : top + len(band)])
        top += len(band)
        yield b""
    yield from _chunk(b"IDAT", cast("bytes", imagecodecs.deflate_encode(room, level=LEVEL)))


def _filtered(band: Band, lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each row as its filter's number and the difference of each byte to that of the pixel on the left, put into `lines`."""
    rows, width, channels = band.shape
    flat = band.reshape(rows, width * channels)
    lines[:, 0] = _SUB
    lines[:, 1 : 1 + channels] = flat[:, :channels]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=lines[:, 1 + channels :])
    return lines


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, ...]:
    """In three parts: to join them would copy the body."""
    crc = zlib_ng.crc32(body, zlib_ng.crc32(kind))
    return struct.pack(">L", len(body)) + kind, body, struct.pack(">L", crc)
