"""The archive's own form, as pure generators: no file is touched here.

A single pass over each member, as https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (6.3.10) has it. A member
that fits into `ENTRY_BUFFER` is written with its sizes and its CRC in front; a larger one is streamed and followed by a
data descriptor (bit 3). ZIP64 fields are written only where a number needs them, or may need them because nobody knows
the size before. Time stamps, attributes and order are fixed: the same members give the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TypeAlias

from zlib_ng import zlib_ng

from exportd.errors import SourceChanged, SourceError
from exportd.formats.member import Member

ENTRY_BUFFER = 4 << 20
"""Bytes of a packed body up to which it is held back, so that its header can carry sizes and CRC."""

PIECE = 1 << 20
"""Longest piece, in bytes: what a writer takes between two looks for a cancel."""

UNJOINED = 64 << 10
"""Bytes from which a part is not copied to join it with others: to write it by itself costs less."""

BREATH = 256 << 10
"""Bytes that are packed between two pieces, empty ones if need be: some 3 ms of DEFLATE, so that a cancel that is
looked for at every piece is soon found."""

ZIP32_LIMIT = (4 << 30) - (4 << 20)
"""A member that is known to be smaller has 32-bit fields. Below 4 GiB by more than DEFLATE can add to what it cannot
compress (5 bytes in 16 KiB)."""

LEVEL = 4
"""Of zlib's 1 to 9, where nothing else is said: more packs a twentieth better and takes twice as long."""

STORED, DEFLATED = 0, 8

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_UTF8, _DESCRIPTOR = 1 << 11, 1 << 3
_VERSION, _VERSION64 = 20, 45
_UNIX = 3 << 8
_DATE = (0 << 9) | (1 << 5) | 1  # 1980-01-01, the first day that the form knows; the time is 0
_ATTRIBUTES = 0o100644 << 16  # a regular file, rw-r--r--

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_EXTRA64 = struct.Struct("<2H")

Packed: TypeAlias = Generator[object, None, "Entry"]
"""Bytes of the archive, and whatever else was among the member's chunks, unchanged and in its place."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as it stands in the archive: what the directory and the manifest tell of it. Sizes are bytes."""

    path: str
    crc: int
    compressed: int
    size: int
    sha256: str
    """Of the member itself, in hex."""
    method: int
    flags: int
    zip64: bool
    """Its local header has a ZIP64 field."""
    media_type: str
    source_image_id: str | None
    original_name: str | None


def packed(members: Iterable[Member], level: int = LEVEL) -> Generator[bytes, None, None]:
    """A whole archive, for members that are one themselves. After each of its members a place to look for a cancel.

    What else stands among their chunks is dropped. Raises as `entry`.
    """
    entries: list[tuple[Entry, int]] = []
    offset = 0
    for member in members:
        begin = offset
        with closing(entry(member, level)) as pieces:
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as done:
                    entries.append((done.value, begin))
                    break
                if isinstance(piece, bytes):
                    offset += len(piece)
                    yield piece
        yield b""
    yield from directory(entries, offset)


def entry(member: Member, level: int = LEVEL) -> Packed:
    """Header, body and, for a streamed member, data descriptor, in pieces of at most `PIECE` bytes; returns the `Entry`.

    Chunks that are no bytes are passed through. Empty pieces are places to look for a cancel. The member's chunks are
    closed with this generator, wherever it stands. Raises ValueError for a path that a ZIP cannot hold, and
    `SourceError` (`SourceChanged` for an image) when a member outgrows the size that was announced for it by so much
    that its header is wrong.
    """
    with ExitStack() as stack:
        close = getattr(member.chunks, "close", None)
        if callable(close):
            stack.callback(close)
        return (yield from _Writing(member, level).run())


def directory(entries: Iterable[tuple[Entry, int]], start: int) -> Iterator[bytes]:
    """The central directory, which begins at byte `start`, and the end records; each entry with its header's offset."""
    count = size = 0
    pending: list[bytes] = []
    waiting = 0
    for item, offset in entries:
        record = _central(item, offset)
        count += 1
        size += len(record)
        pending.append(record)
        waiting += len(record)
        if waiting >= BREATH:
            yield b"".join(pending)
            pending, waiting = [], 0
    pending.append(_end(count, size, start))
    yield b"".join(pending)


class _Writing:
    """One member on its way."""

    def __init__(self, member: Member, level: int) -> None:
        self._member = member
        self._name = member.path.encode()
        if not 0 < len(self._name) <= _MAX16:
            raise ValueError(f"a ZIP cannot hold a member whose path has {len(self._name)} bytes")
        self._deflate = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS) if member.compress else None
        self._sha256 = hashlib.sha256()
        self._crc = self._size = self._compressed = 0
        self._held: list[bytes] = []
        self._held_size = 0
        self._streaming = False
        self._zip64 = False

    def run(self) -> Packed:
        unpaused = 0
        for chunk in self._member.chunks:
            if not isinstance(chunk, bytes | bytearray | memoryview) or not chunk:
                yield chunk  # an empty one is the exporter's own place to look for a cancel
                continue
            for part in _slices(chunk, PIECE if self._deflate is None else BREATH):
                self._take(part)
                unpaused += len(part)
                if self._due():
                    yield from self._release()
                    unpaused = 0
                elif unpaused >= BREATH:
                    yield b""
                    unpaused = 0
        if self._deflate is not None:
            self._hold(self._deflate.flush())
        if self._streaming:
            yield from self._release()
            yield self._descriptor()
        else:
            yield from _pieces([self._header(), *self._held])
        return self._entry()

    def _take(self, part: bytes) -> None:
        self._sha256.update(part)
        self._crc = int(zlib_ng.crc32(part, self._crc))
        self._size += len(part)
        self._hold(part if self._deflate is None else self._deflate.compress(part))

    def _hold(self, packed: bytes) -> None:
        if packed:
            self._held.append(packed)
            self._held_size += len(packed)
            self._compressed += len(packed)

    def _due(self) -> bool:
        """Whether what is held must go. Zeros pack 1000 to 1, so a small body may still be too large for its header."""
        if self._streaming:
            return self._held_size >= BREATH
        return self._held_size > ENTRY_BUFFER or self._size >= ZIP32_LIMIT

    def _release(self) -> Iterator[bytes]:
        """Gives what is held; the first time the header, which from then on has no sizes."""
        if not self._streaming:
            self._streaming = True
            known = self._member.size
            self._zip64 = known is None or known >= ZIP32_LIMIT
            yield self._header()
        if not self._zip64 and max(self._size, self._compressed) >= _MAX32:
            raise self._outgrown()
        held, self._held, self._held_size = self._held, [], 0
        yield from _pieces(held)

    def _outgrown(self) -> SourceError:
        reason = "it grew beyond 4 GiB while it was read"
        if self._member.source_image_id is not None:
            return SourceChanged(self._member.source_image_id, reason)
        return SourceError(f"{self._member.path}: {reason}")

    @property
    def _method(self) -> int:
        return STORED if self._deflate is None else DEFLATED

    @property
    def _flags(self) -> int:
        return _UTF8 | (_DESCRIPTOR if self._streaming else 0)

    def _header(self) -> bytes:
        extra = _extra64([0, 0]) if self._zip64 else b""
        if not self._streaming:
            crc, compressed, size = self._crc, self._compressed, self._size
        else:
            crc, compressed, size = (0, _MAX32, _MAX32) if self._zip64 else (0, 0, 0)
        return (
            _LOCAL.pack(
                b"PK\3\4",
                _VERSION64 if self._zip64 else _VERSION,
                self._flags,
                self._method,
                0,
                _DATE,
                crc,
                compressed,
                size,
                len(self._name),
                len(extra),
            )
            + self._name
            + extra
        )

    def _descriptor(self) -> bytes:
        form = "<4sLQQ" if self._zip64 else "<4sLLL"
        return struct.pack(form, b"PK\7\10", self._crc, self._compressed, self._size)

    def _entry(self) -> Entry:
        return Entry(
            path=self._member.path,
            crc=self._crc,
            compressed=self._compressed,
            size=self._size,
            sha256=self._sha256.hexdigest(),
            method=self._method,
            flags=self._flags,
            zip64=self._zip64,
            media_type=self._member.media_type,
            source_image_id=self._member.source_image_id,
            original_name=self._member.original_name,
        )


def _slices(chunk: bytes | bytearray | memoryview, longest: int) -> Iterator[bytes]:
    """The chunk as bytes; without a copy when it is short enough already."""
    if isinstance(chunk, bytes) and len(chunk) <= longest:
        yield chunk
        return
    with memoryview(chunk) as view, view.cast("B") as octets:
        for begin in range(0, len(octets), longest):
            yield bytes(octets[begin : begin + longest])


def _pieces(parts: list[bytes]) -> Iterator[bytes]:
    """Small neighbours joined into pieces of at most `PIECE` bytes; large parts as they are. No part may be longer."""
    pending: list[bytes] = []
    size = 0
    for part in parts:
        large = len(part) >= UNJOINED
        if pending and (large or size + len(part) > PIECE):
            yield b"".join(pending)
            pending, size = [], 0
        if large:
            yield part
        else:
            pending.append(part)
            size += len(part)
    if pending:
        yield b"".join(pending)


def _extra64(numbers: list[int]) -> bytes:
    return _EXTRA64.pack(1, 8 * len(numbers)) + struct.pack(f"<{len(numbers)}Q", *numbers) if numbers else b""


def _central(item: Entry, offset: int) -> bytes:
    # A reader learns from here whether the data descriptor has 64-bit fields, so both places tell the same.
    wide = item.zip64 or item.size >= _MAX32 or item.compressed >= _MAX32
    far = offset >= _MAX32
    extra = _extra64(([item.size, item.compressed] if wide else []) + ([offset] if far else []))
    version = _VERSION64 if extra else _VERSION
    name = item.path.encode()
    return (
        _CENTRAL.pack(
            b"PK\1\2",
            _UNIX | version,
            version,
            item.flags,
            item.method,
            0,
            _DATE,
            item.crc,
            _MAX32 if wide else item.compressed,
            _MAX32 if wide else item.size,
            len(name),
            len(extra),
            0,  # no comment
            0,  # on the first disk
            0,  # no text, as far as we say
            _ATTRIBUTES,
            _MAX32 if far else offset,
        )
        + name
        + extra
    )


def _end(count: int, size: int, start: int) -> bytes:
    wide = b""
    if count >= _MAX16 or size >= _MAX32 or start >= _MAX32:
        wide = _END64.pack(
            b"PK\6\6", _END64.size - 12, _UNIX | _VERSION64, _VERSION64, 0, 0, count, count, size, start
        ) + _LOCATOR64.pack(b"PK\6\7", 0, start + size, 1)
    short = min(count, _MAX16)
    return wide + _END.pack(b"PK\5\6", 0, 0, short, short, min(size, _MAX32), min(start, _MAX32), 0)
