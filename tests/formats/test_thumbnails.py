"""Small pictures, read back by Pillow."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from exportd.core.dataset import Pixels
from exportd.formats.thumbnails import SIDE, thumbnail


def seen(pixels: Pixels) -> PIL.Image.Image:
    made = thumbnail(pixels)
    assert made is not None
    return PIL.Image.open(io.BytesIO(made))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((512, 1024), (SIDE, SIDE // 2)),
        ((5000, 100), (5, SIDE)),
        ((40, 60), (60, 40)),
        ((1, 9000), (SIDE, 1)),
        ((3000, 3000, 3), (SIDE, SIDE)),
    ],
)
def test_it_has_the_form_of_the_image_and_is_never_enlarged(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    made = seen(np.zeros(shape, np.uint8))
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", size)


def test_colours_stay_and_faint_images_are_stretched() -> None:
    red = np.zeros((300, 300, 3), np.uint8)
    red[..., 0] = 200
    r, g, b = seen(red).getpixel((100, 100))  # type: ignore[misc]
    assert r > 190
    assert max(g, b) < 12
    faint = np.full((300, 300), 1000, np.uint16)
    faint[:150] = 1100
    made = np.asarray(seen(faint))
    assert made[10].min() > 240
    assert made[-10].max() < 15


@pytest.mark.parametrize("pixels", [np.zeros((0, 5), np.uint8), np.zeros(7, np.uint8)])
def test_what_shows_nothing_has_none(pixels: Pixels) -> None:
    assert thumbnail(pixels) is None
