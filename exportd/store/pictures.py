"""Pixels of PNG, JPEG, BMP, GIF, WebP and PNM, by Pillow, and of ordinary small PNGs by libpng, which takes half the time.

Pillow asks the file for a block at a time, so a cancel falls between two blocks; of a progressive JPEG and of a WebP the
last step, or the only one, takes a second for 500 and for 50 million pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from exportd.core.dataset import Pixels
from exportd.errors import UnreadableImage
from exportd.store.listening import TOO_LARGE, UNKNOWN_KIND, Listening, refuse_large

# Set once, for all threads: our own limit is asked before anything is allocated, and the library's would be a warning.
Image.MAX_IMAGE_PIXELS = None
# Odd metadata, which nobody asked for. A filter of one thread only does not exist before Python 3.14.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
"""Others are not decoded: some of Pillow's plugins start programs or threads, or take long in one step."""

BLOCK = 4 << 10
"""Bytes that are decoded in one step. DEFLATE makes at most a thousand times as many of them: some 10 ms."""

BAND = 4 << 20
"""Bytes of pixels, about, that are taken from Pillow in one step: some 5 ms."""

QUICK_PIXELS, QUICK_BYTES = 1 << 21, 16 << 20
"""Of a picture, and of its file, that is decoded in one step: some 40 ms at most."""

_ORDINARY = {"L": (), "RGB": (3,), "RGBA": (4,)}
"""What a PNG of 8 bits a channel stores, and the channels that it becomes."""

MAX_WEBP = 1 << 26
"""Pixels. All of them come in one step that takes four times the memory, and the interpreter stands still for a part of it;
36 bytes can be a sound WebP of any size that there is."""

_RESOLVED = {"CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB", "La": "LA", "RGBa": "RGBA"}
"""Pillow's modes that are not among those of `Pixels`, and what they become."""

_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Pillow has no colour of 16 bits and keeps the first byte of two. Told that the other end comes first, it keeps the
second: two passes give both."""

_GREY_ALPHA = "LA;16B"

_Bands = Iterator[Pixels]


def picture(file: Listening) -> Pixels:
    """The pixels; of several frames the first. Raises `UnreadableImage`, and whatever a decoder does with a bad file."""
    with _opened(file) as image:
        raw = _raw_mode(image)
        if image.format == "WEBP" and image.width * image.height > MAX_WEBP:
            raise UnreadableImage(TOO_LARGE)
        refuse_large(image.width, image.height, 8 if raw in _LOW_BYTES else 4)
        if raw in _ORDINARY and (pixels := _quickly(file, (image.height, image.width, *_ORDINARY[raw]))) is not None:
            return pixels
        if raw == _GREY_ALPHA:  # four bytes a pixel: kept as they are in four channels of 8 bits
            return _loaded(image, file, "RGBA").view(">u2").astype(np.uint16)
        if raw not in _LOW_BYTES:
            return _loaded(image, file)
        high = _loaded(image, file)
    with _opened(file) as image:
        low = _loaded(image, file, _LOW_BYTES[raw])
    return _joined(high, low, file.listen)


def picture_header(file: Listening) -> tuple[int, int, str | None]:
    """Width, height and media type of any kind that Pillow knows, without the pixels. Raises whatever Pillow does."""
    with Image.open(file) as image:
        return image.width, image.height, image.get_format_mimetype()


def _opened(file: Listening) -> ImageFile.ImageFile:
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if file.exhausted:
            raise
        raise UnreadableImage(UNKNOWN_KIND) from None
    image.decodermaxblock = BLOCK
    return image


def _quickly(file: Listening, shape: tuple[int, ...]) -> Pixels | None:
    """The pixels of a small PNG in one step. None for what Pillow has to look at: large ones, odd ones, and damaged ones, as
    it can tell apart what is wrong."""
    if shape[0] * shape[1] > QUICK_PIXELS or file.bytes > QUICK_BYTES:
        return None
    file.seek(0)
    try:
        pixels: Pixels = imagecodecs.png_decode(file.read())
    except imagecodecs.PngError:
        return None
    return pixels if pixels.shape == shape and pixels.dtype == np.uint8 else None


def _raw_mode(image: ImageFile.ImageFile) -> str | None:
    """How a PNG says that its samples are stored."""
    args = image.tile[0].args if image.format == "PNG" and image.tile else None
    return args if isinstance(args, str) else None


def _loaded(image: ImageFile.ImageFile, file: Listening, raw: str | None = None) -> Pixels:
    if raw is not None:
        image.tile = [tile._replace(args=raw) for tile in image.tile]
    image.load()
    return _array(image, file.listen)


def _array(image: Image.Image, listen: Callable[[], None]) -> Pixels:
    """The loaded image, resolved band by band, so that there is no second copy of all of it but the result."""
    bands = _bands(image, listen)
    first = next(bands)
    if len(first) == image.height:
        return first
    pixels = np.empty((image.height, *first.shape[1:]), first.dtype)
    pixels[: len(first)] = first
    top = len(first)
    for band in bands:
        pixels[top : top + len(band)] = band
        top += len(band)
    return pixels


def _bands(image: Image.Image, listen: Callable[[], None]) -> _Bands:
    rows = max(1, BAND // (4 * image.width))
    mode = _mode(image)
    for top in range(0, image.height, rows):
        listen()
        whole = rows >= image.height
        band = image if whole else image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels = np.asarray(band if mode == image.mode else band.convert(mode))
        yield pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _mode(image: Image.Image) -> str:
    if image.mode in ("P", "PA"):
        return "RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB"
    return _RESOLVED.get(image.mode, image.mode)


def _joined(high: Pixels, low: Pixels, listen: Callable[[], None]) -> Pixels:
    """Samples of 16 bits from their bytes."""
    pixels = np.empty(high.shape, np.uint16)
    halves = pixels.view(np.uint8).reshape(*high.shape, 2)
    first = int(np.little_endian)
    rows = max(1, BAND // pixels[0].nbytes)
    for top in range(0, len(pixels), rows):
        listen()
        halves[top : top + rows, ..., first] = high[top : top + rows]
        halves[top : top + rows, ..., 1 - first] = low[top : top + rows]
    return pixels
