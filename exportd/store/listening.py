"""A file that listens while others read it, and how large an image may be that is decoded. Blocking."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

from exportd.errors import UnreadableImage

MAX_PIXELS = 1 << 28
"""Of an image that is decoded: 16,384 x 16,384. A few bytes can claim any size, and all of it would be allocated."""

MAX_BYTES = 1 << 30
"""Of the decoded pixels, and of the largest piece that a decoder needs at a time."""

TOO_LARGE = "it is too large to be decoded"
CUT_OFF = "the file is cut off"
DAMAGED = "the file cannot be decoded"
UNKNOWN_KIND = "its kind of image cannot be decoded"


class Listening(io.BufferedReader):
    """The file behind a descriptor, which stays the caller's: its position moves, it is not closed.

    Every read calls `check` first. Decoders may take what it raises for a fault of the file and swallow it, so it is kept
    in `stopped` as well.
    """

    def __init__(self, fd: int, check: Callable[[], None]) -> None:
        super().__init__(io.FileIO(fd, closefd=False))
        self._check = check
        self.bytes = os.fstat(fd).st_size
        self.stopped: BaseException | None = None
        self.exhausted = False
        """Something was asked for behind the end: what fails then is a file that was cut off."""
        self.seek(0)

    def listen(self) -> None:
        """Calls `check`."""
        try:
            self._check()
        except BaseException as error:
            self.stopped = error
            raise

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file does. A size that a damaged file claims is no reason to allocate it."""
        self.listen()
        if size is None or size < 0:
            return super().read()
        data = super().read(min(size, max(0, self.bytes - self.tell())))
        self.exhausted = self.exhausted or (size > 0 and not data)
        return data


def refuse_large(width: int, height: int, bytes_per_pixel: int) -> None:
    """Raises `UnreadableImage` for what is beyond the limits."""
    if width * height > MAX_PIXELS or width * height * bytes_per_pixel > MAX_BYTES:
        raise UnreadableImage(TOO_LARGE)


def reason(file: Listening, error: Exception) -> str:
    """Why an error of a decoder means that the file cannot be read, as a phrase for a person."""
    if isinstance(error, UnreadableImage):
        return error.reason
    if isinstance(error, MemoryError):
        return TOO_LARGE
    return CUT_OFF if file.exhausted or "truncated" in str(error).lower() else DAMAGED
