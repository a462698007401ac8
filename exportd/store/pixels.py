"""Image files to arrays of pixels, in the stored pixel grid. Blocking."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from PIL import Image

from exportd.core.dataset import Pixels
from exportd.errors import UnreadableImage


def decode(fd: int, check: Callable[[], None]) -> Pixels:
    """The pixels of the file behind the descriptor, of several pages the first. `check` may raise to stop it.

    Raises `UnreadableImage` for what cannot be decoded.
    """
    check()
    try:
        with os.fdopen(os.dup(fd), "rb") as file:
            file.seek(0)
            with Image.open(file) as image:
                return np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except Exception as error:  # whatever a decoder may raise for broken input
        raise UnreadableImage("the file cannot be decoded") from error
