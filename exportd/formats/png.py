"""PNG, by https://www.w3.org/TR/png-3/, written band by band: a picture of any size needs memory for one band only.

Every row has the Sub filter, which is one subtraction in numpy: the usual encoders spend most of their time on a choice
of filters that saves little. Of what is left only runs are looked for (RLE): differences of neighbours repeat themselves
in no other way, so to look for more takes twice as long and makes larger files. DEFLATE is zlib-ng's. isal's is faster
still, but packs about one picture in a thousand of a busy service to other bytes than the last time, and the same project has
to give the same archive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

Band = NDArray[np.uint8]
"""Some rows of a picture, shape (rows, width, channels)."""

LEVEL = 1
"""Of zlib's 1 to 9; where only runs are looked for, more does nothing."""

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""By channels: grey, RGB, RGBA."""

_SUB = 1


def png(width: int, height: int, channels: int, bands: Iterable[Band]) -> Iterator[bytes]:
    """A picture as PNG, 8 bits a channel: 1 channel is grey, 3 are RGB, 4 are RGBA (alpha not multiplied in).

    `bands` come from top to bottom and have `height` rows together; after each there is a chunk (perhaps empty: a place
    to look for a cancel). The same picture in other bands may give other bytes. Raises ValueError when rows are missing or
    too many.
    """
    yield b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">LL5B", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    )
    deflate = zlib_ng.compressobj(LEVEL, strategy=zlib_ng.Z_RLE)
    rows = 0
    for band in bands:
        rows += len(band)
        packed = deflate.compress(_filtered(band, width, channels).data)
        yield _chunk(b"IDAT", packed) if packed else b""
    if rows != height:
        raise ValueError(f"a picture of {height} rows got {rows}")
    yield _chunk(b"IDAT", deflate.flush()) + _chunk(b"IEND", b"")


def _filtered(band: Band, width: int, channels: int) -> NDArray[np.uint8]:
    """Each row as its filter's number and the difference of each byte to that of the pixel on the left."""
    flat = band.reshape(len(band), width * channels)
    lines = np.empty((len(band), 1 + width * channels), np.uint8)
    lines[:, 0] = _SUB
    lines[:, 1 : 1 + channels] = flat[:, :channels]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=lines[:, 1 + channels :])
    return lines


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib_ng.crc32(body, zlib_ng.crc32(kind)))
