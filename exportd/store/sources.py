"""Original image files: found below the uploads directory, never outside it, and looked at cheaply. Blocking.

No sentence in here holds a path: the reasons reach users.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from exportd.errors import UnreadableImage
from exportd.store.listening import MAX_PIXELS, Listening
from exportd.store.pictures import picture_header
from exportd.store.tiff import is_tiff, tiff_size

HEAD, TAIL = 64, 4096
"""Bytes that are looked at. The tail leaves room for what some programs put behind the end of an image."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a named pipe must not hold the thread before it is seen to be none of ours.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_OUTSIDE = "its path leads out of the folder that images must be in"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a quick look at an image file tells. `size` is bytes, `width` and `height` pixels (None: not asked)."""

    size: int
    width: int | None
    height: int | None
    media_type: str | None
    """None where the form is known to the image library alone, and it has no name for it."""
    warning: str | None


class Uploads:
    """The uploads directory. Stored paths are relative to it.

    Platforms store them as `/uploads/...` or `uploads/...` too: a leading slash, then a leading `uploads/`, is dropped
    when there is no such file otherwise. Symbolic links may be used as long as they end inside.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)

    def open(self, original_path: str) -> int:
        """A descriptor for reading, which the caller closes; a regular file below the root. Raises `UnreadableImage`."""
        if not original_path or "\0" in original_path or not _encodable(original_path):
            raise UnreadableImage("no usable path is stored for it")
        for candidate in _candidates(original_path):
            with suppress(FileNotFoundError, NotADirectoryError):
                return self._open(candidate)
        raise UnreadableImage("the file is missing", missing=True)

    def _open(self, relative: str) -> int:
        try:
            fd = self._descend(relative)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise
            _refuse(error)
        raise UnreadableImage("what lies there is no file")

    def _descend(self, relative: str) -> int:
        """Resolves links first, then opens folder by folder and follows none: one that is put in between leads nowhere."""
        real = os.path.realpath(os.path.join(self._root, relative))  # noqa: PTH118 - this is called for every image
        inside = self._root.rstrip("/") + "/"
        if not real.startswith(inside):
            raise UnreadableImage(_OUTSIDE)
        *folders, name = real[len(inside) :].split("/")
        where = os.open(self._root, _DIRECTORY)
        try:
            for folder in folders:
                deeper = os.open(folder, _DIRECTORY, dir_fd=where)
                os.close(where)
                where = deeper
            return os.open(name, _FILE, dir_fd=where)
        finally:
            os.close(where)

    def probe(self, original_path: str, *, dimensions: bool = False) -> Probe:
        """Looks at the first and last bytes, and for `dimensions` has the header read.

        Raises `UnreadableImage` for what is missing, empty or no image. A file that looks cut off gives a warning.
        """
        fd = self.open(original_path)
        try:
            return _probe(fd, dimensions=dimensions)
        finally:
            os.close(fd)


def _encodable(path: str) -> bool:
    """Whether the system can be asked for it: half a surrogate pair has no bytes."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def _candidates(path: str) -> Iterator[str]:
    if not path.startswith("/"):
        yield path
    bare = path.lstrip("/")
    if bare != path:
        yield bare
    if bare.startswith("uploads/"):
        yield bare.removeprefix("uploads/").lstrip("/")


def _refuse(error: OSError) -> NoReturn:
    match error.errno:
        case errno.EMFILE | errno.ENFILE:
            raise error  # the service has no descriptors left: no fault of the image, which must not be left out for it
        case errno.EACCES | errno.EPERM:
            reason = "the service may not read the file"
        case errno.ELOOP:
            reason = _OUTSIDE
        case errno.ENAMETOOLONG:
            reason = "its path is too long"
        case errno.ENXIO | errno.ENODEV:
            reason = "what lies there is no file"
        case _:
            reason = f"the file cannot be read ({os.strerror(error.errno or errno.EIO)})"
    raise UnreadableImage(reason) from error


def _probe(fd: int, *, dimensions: bool) -> Probe:
    try:
        size = os.fstat(fd).st_size
        head = os.pread(fd, HEAD, 0)
        tail = os.pread(fd, TAIL, max(0, size - TAIL))
    except OSError as error:
        _refuse(error)
    if not head:
        raise UnreadableImage("the file is empty")
    media_type = sniff(head)
    width: int | None = None
    height: int | None = None
    if media_type is None or dimensions:
        width, height, named = _header(fd)
        media_type = media_type or named
    warning = "the file looks truncated" if _truncated(media_type, size, head, tail) else None
    return Probe(size, width if dimensions else None, height if dimensions else None, media_type, warning)


def sniff(head: bytes) -> str | None:
    """The media type that the first bytes tell, of the common forms."""
    for start, media_type in _MAGIC:
        if head.startswith(start):
            return media_type
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def _truncated(media_type: str | None, size: int, head: bytes, tail: bytes) -> bool:
    match media_type:
        case "image/png":
            return b"IEND\xaeB`\x82" not in tail
        case "image/jpeg":
            return b"\xff\xd9" not in tail
        case "image/bmp":
            return len(head) < 26 or int.from_bytes(head[2:6], "little") > size  # some programs leave the field 0
        case "image/webp":
            return int.from_bytes(head[4:8], "little") + 8 > size
        case "image/tiff":
            return _first_directory(head) >= size
        case _:
            return False


def _first_directory(head: bytes) -> int:
    """Where a TIFF's first directory is; often behind the pixels, so a file that was cut has lost it."""
    order: Literal["<", ">"] = "<" if head[:1] == b"I" else ">"
    big = b"+" in head[2:4]
    try:
        (offset,) = struct.unpack_from(order + ("Q" if big else "L"), head, 8 if big else 4)
    except struct.error:
        return 1 << 62
    return int(offset)


def _header(fd: int) -> tuple[int | None, int | None, str | None]:
    """Width, height and media type as the header tells them, of the stored pixel grid; no size that is never decoded."""
    with Listening(fd, lambda: None) as file:
        try:
            width, height, media_type = (*tiff_size(file), "image/tiff") if is_tiff(file) else picture_header(file)
        except Exception as error:  # whatever a decoder may raise for broken input
            raise UnreadableImage("the file cannot be read as an image") from error
    if width * height > MAX_PIXELS:
        return None, None, media_type
    return width, height, media_type
