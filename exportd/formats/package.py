"""A ZIP within the archive, for forms that are one (a workbook): streamed, and packed by the fastest level of zlib.

As https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (6.3.10) has it. Each part is written in one pass and
followed by a data descriptor; times and attributes are fixed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterable, Iterator

from isal import isal_zlib

from exportd.formats.zipping import DEFLATED, Entry, directory

SLICE = 128 << 10
"""Bytes that are packed between two chunks: some 2 ms."""

LEVEL = 1
"""Of zlib's 1 to 9. Not isal, which is faster and now and then packs the same to other bytes."""

LIMIT32 = 4 << 30
"""A part of which so much is expected has sizes of 64 bits. Excel warns when it meets them in a workbook that could do
without."""

_LOCAL = struct.Struct("<4s5H3L2H")
_WIDE_EXTRA = struct.pack("<2H2Q", 1, 16, 0, 0)
_DATE = (0 << 9) | (1 << 5) | 1  # 1980-01-01
_FLAGS = 1 << 11 | 1 << 3  # the name is UTF-8, sizes come behind
_MAX32 = 0xFFFFFFFF


def package(parts: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """The file, from each part's path, the size that is expected of it, and its content, which is read in its turn.

    Chunks may be empty: places to look for a cancel. Raises ValueError when a part outgrows what was expected by so
    much that its header is wrong.
    """
    entries: list[tuple[Entry, int]] = []
    offset = 0
    for path, expected, content in parts:
        entry = yield from _part(path, expected >= LIMIT32, content)
        entries.append((entry, offset))
        offset += _length(entry)
    yield from directory(entries, offset)


def _part(path: str, wide: bool, content: Iterable[bytes]) -> Generator[bytes, None, Entry]:
    name, extra = path.encode(), _WIDE_EXTRA if wide else b""
    sizes = (_MAX32, _MAX32) if wide else (0, 0)
    version = 45 if wide else 20
    yield _LOCAL.pack(b"PK\3\4", version, _FLAGS, DEFLATED, 0, _DATE, 0, *sizes, len(name), len(extra)) + name + extra
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc = size = compressed = 0
    for piece in content:
        for begin in range(0, len(piece), SLICE):
            part = piece[begin : begin + SLICE]
            crc, size = isal_zlib.crc32(part, crc), size + len(part)
            packed = deflate.compress(part)
            compressed += len(packed)
            yield packed
    packed = deflate.flush()
    compressed += len(packed)
    if not wide and max(size, compressed) > _MAX32:
        raise ValueError(f"{path} has {size} bytes and was expected to be small")
    yield packed + struct.pack("<4sLQQ" if wide else "<4sLLL", b"PK\7\10", crc, compressed, size)
    return Entry(path, crc, compressed, size, "", DEFLATED, _FLAGS, wide, "", None, None)


def _length(entry: Entry) -> int:
    """Bytes of a part with its header and descriptor."""
    around = len(_WIDE_EXTRA) + 24 if entry.zip64 else 16
    return _LOCAL.size + len(entry.path.encode()) + entry.compressed + around
