"""Image files to arrays of pixels, in the stored pixel grid: no orientation is applied. Blocking.

What a kind of image becomes:

| stored | array |
|---|---|
| 1 bit | bool, True is white |
| grey of 2 or 4 bits | uint8, spread over 0 to 255 |
| grey of 8, 12, 16, 32 bits, signed or float | as stored; MINISWHITE turned round |
| grey + alpha, RGB, RGBA | as stored, 16 bits too; alpha multiplied in or not, as stored |
| palette | RGB, or RGBA where an entry is transparent; 8 bits |
| CMYK, YCbCr | RGB |
| more channels of grey | the first one |
| pages, planes, frames | the first one |

Arrays need not be contiguous and may be read-only; their byte order is the machine's.
"""

from __future__ import annotations

from collections.abc import Callable

from exportd.core.dataset import Pixels
from exportd.errors import UnreadableImage
from exportd.store.listening import Listening, reason
from exportd.store.pictures import picture
from exportd.store.tiff import is_tiff, tiff


def decode(fd: int, check: Callable[[], None]) -> Pixels:
    """The pixels of the file behind the descriptor, of several pages the first.

    The descriptor stays the caller's. `check` is called every few milliseconds and may raise to stop it: that passes
    through, whatever it is. Raises `UnreadableImage` for what is too large, cut off or cannot be decoded.
    """
    with Listening(fd, check) as file:
        try:
            pixels = _decoded(file)
        except UnreadableImage:
            if file.stopped is None:
                raise
        if file.stopped is not None:
            raise file.stopped
        return pixels


def _decoded(file: Listening) -> Pixels:
    try:
        return tiff(file) if is_tiff(file) else picture(file)
    except Exception as error:  # whatever a decoder may raise for broken input
        raise UnreadableImage(reason(file, error)) from error
