"""The ZIP itself: names that can be unpacked anywhere, sizes that can be true, and the sums of every member."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from exportd.verifying.findings import Damaged, Findings

READ_BYTES = 1 << 20

MAX_RATIO = 1032
"""DEFLATE cannot pack denser, so a member that declares more is a lie: what is read is bounded by the file's size."""

HEADER_BYTES = 30
"""Of a local header without the name."""

MAX_COMPONENT = 255
"""Bytes of UTF-8 that file systems take between two slashes."""

SPOOL_BYTES = 16 << 20
"""Of a member that is read to and fro; beyond it lies on the disk."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*]')

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
"""What the reader of ZIPs raises for a member that is damaged, encrypted or packed in an unknown way."""


class Sum(NamedTuple):
    """What a member really is."""

    size: int
    sha256: str


class Contents:
    """The members that can be read."""

    def __init__(self, archive: zipfile.ZipFile, sums: dict[str, Sum]) -> None:
        self._archive = archive
        self.sums = sums
        """Of the members that came through whole, in the order of the archive."""
        self.names = frozenset(archive.namelist())

    def paths(self, prefix: str, ending: str = "") -> list[str]:
        """Members of a folder, in order; also the damaged ones."""
        return [
            i.filename
            for i in self._archive.infolist()
            if i.filename.startswith(prefix) and i.filename.endswith(ending)
        ]

    def binary(self, path: str) -> IO[bytes]:
        """The member as a stream, forward only. Raises `Damaged`."""
        if path not in self.sums:
            raise Damaged(path, "it cannot be read")
        return self._archive.open(path)

    def text(self, path: str) -> io.TextIOWrapper:
        """As `binary`, as UTF-8; line ends as they stand."""
        return io.TextIOWrapper(self.binary(path), encoding="utf-8-sig", newline="")

    def spooled(self, path: str) -> IO[bytes]:
        """A copy that can be read to and fro, on the disk if it is large."""
        spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
        with self.binary(path) as member:
            while piece := member.read(READ_BYTES):
                spool.write(piece)
        spool.seek(0)
        return spool


def sums_of(archive: zipfile.ZipFile, findings: Findings) -> dict[str, Sum]:
    """Reads every member once, against its CRC and the sizes that the directory declares."""
    sums = {}
    for info in vetted(archive.infolist(), findings):
        found = _read(archive, info, findings)
        if found is not None:
            sums[info.filename] = found
    return sums


def vetted(infos: list[zipfile.ZipInfo], findings: Findings) -> list[zipfile.ZipInfo]:
    """The members that can be read; a fault for each that cannot, or must not be unpacked everywhere."""
    _names(infos, findings)
    hidden = _overlapping(infos, findings)
    return [info for info in infos if info.header_offset not in hidden and _readable(info, findings)]


def _names(infos: list[zipfile.ZipInfo], findings: Findings) -> None:
    seen: dict[str, str] = {}
    for info in infos:
        if (why := unsafe(info.orig_filename)) is not None:
            findings.fault(info.filename, f"its name is unsafe: {why}")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            findings.fault(info.filename, "it is no regular file")
        key = unicodedata.normalize("NFC", info.filename).casefold()
        if (other := seen.get(key)) is not None:
            same = "is there twice" if other == info.filename else f"differs from {other} only in case"
            findings.fault(info.filename, f"its name {same}: one would overwrite the other")
        seen[key] = info.filename


def unsafe(path: str) -> str | None:
    """Why a path must not be unpacked everywhere; None if it may."""
    if _FORBIDDEN.search(path):
        return "it has a character that some system forbids"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return "it leaves its folder, is absolute or names no file"
        if len(part.encode(errors="replace")) > MAX_COMPONENT:
            return f"a part of it is longer than {MAX_COMPONENT} bytes"
        if part[-1] in ". " or _RESERVED.fullmatch(part):
            return "it is reserved on some system"
    return None


def _overlapping(infos: list[zipfile.ZipInfo], findings: Findings) -> set[int]:
    """Offsets of members that begin within another: the same bytes unpacked many times over."""
    hidden = set()
    end, before = 0, ""
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < end:
            findings.fault(info.filename, f"its bytes overlap those of {before}")
            hidden.add(info.header_offset)
        size = HEADER_BYTES + len(info.orig_filename.encode(errors="replace")) + info.compress_size
        end, before = max(end, info.header_offset + size), info.filename
    return hidden


def _readable(info: zipfile.ZipInfo, findings: Findings) -> bool:
    if info.flag_bits & 1:
        findings.fault(info.filename, "it is encrypted")
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        findings.fault(info.filename, "it is packed in a way that exportd does not use")
    elif info.file_size > info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else MAX_RATIO):
        findings.fault(
            info.filename,
            f"it declares {info.file_size} bytes, more than its {info.compress_size} packed ones can hold",
        )
    else:
        return True
    return False


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, findings: Findings) -> Sum | None:
    digest, size = hashlib.sha256(), 0
    try:
        with archive.open(info) as member:
            while piece := member.read(READ_BYTES):
                digest.update(piece)
                size += len(piece)
    except BROKEN as error:
        findings.fault(info.filename, f"it is damaged: {_reason(error)}")
        return None
    if size != info.file_size:
        findings.fault(info.filename, f"it has {size} bytes, the directory says {info.file_size}")
        return None
    return Sum(size, digest.hexdigest())


def _reason(error: BaseException) -> str:
    if isinstance(error, zipfile.BadZipFile) and "CRC" in str(error):
        return "its CRC-32 is not that of the directory"
    if isinstance(error, zipfile.BadZipFile):
        return "its header is not what the directory says"
    return "its packed bytes cannot be unpacked"


def lines(text: io.TextIOWrapper, place: str, longest: int) -> Iterator[str]:
    """Lines without their ends. Raises `Damaged` for one that is longer, or no UTF-8."""
    try:
        while line := text.readline(longest + 1):
            if len(line) > longest:
                raise Damaged(place, "a line is too long")
            yield line.rstrip("\r\n")
    except UnicodeDecodeError:
        raise Damaged(place, "it is not UTF-8 text") from None
