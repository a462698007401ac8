"""A small picture of an image, for people to choose by."""

from __future__ import annotations

import cv2
import numpy as np

from exportd.core.dataset import Pixels
from exportd.formats.display import Display, is_picture

SIDE = 256
"""Pixels of the longer side, at most: what is shown small is not blurred on a dense screen."""

MEDIA_TYPE = "image/jpeg"

QUALITY = 82
"""Of JPEG: some 8 KiB for a picture of nuclei."""

FINE = 4
"""Pixels, each way, that become one. More are left out before: nobody sees it, and the work does not grow with the image."""


def thumbnail(pixels: Pixels) -> bytes | None:
    """The picture as a JPEG of at most `SIDE` by `SIDE`, never enlarged. None: there is nothing to show."""
    if not is_picture(pixels):
        return None
    step = max(1, max(pixels.shape[:2]) // (SIDE * FINE))
    shown = Display.of(pixels[::step, ::step])
    rgb = shown.band(0, shown.height)
    scale = min(1.0, SIDE / max(shown.width, shown.height))
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    small = rgb if scale == 1 else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(jpeg)
