"""PNG as other readers see it."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from exportd.formats import png as module
from exportd.formats.png import png


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3, 4]),
    st.integers(1, 17),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_every_pixel_comes_back(width: int, height: int, channels: int, rows: int, photo: bool, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    bands = (picture[top : top + rows] for top in range(0, height, rows))
    body = b"".join(png(width, height, channels, bands, photo=photo))
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert (np.asarray(image).reshape(picture.shape) == picture).all()
    other = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert other is not None
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    assert (other.reshape(picture.shape)[..., order] == picture).all()


def test_a_palette_gives_the_colours() -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    body = b"".join(png(16, 16, 1, [indices], palette=palette))
    with Image.open(io.BytesIO(body)) as image:
        assert image.mode == "P"
        assert (np.asarray(image.convert("RGB")).reshape(256, 3) == palette).all()
    other = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    assert (other.reshape(256, 3)[:, ::-1] == palette).all()


@pytest.mark.parametrize("photo", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_are_missing_or_too_many_are_an_error(rows: int, photo: bool) -> None:
    with pytest.raises(ValueError, match="2 rows"):
        list(png(2, 2, 1, [np.zeros((rows, 2, 1), np.uint8)], photo=photo))


def packed(picture: module.Band, *, photo: bool) -> list[bytes]:
    height, width, channels = picture.shape
    return list(png(width, height, channels, (picture[top : top + 8] for top in range(0, height, 8)), photo=photo))


def test_a_grey_photograph_in_rgb_takes_little_more_than_half() -> None:
    grey = np.random.default_rng(0).normal(100, 10, (256, 256, 1)).astype(np.uint8).repeat(3, axis=2)
    assert len(b"".join(packed(grey, photo=True))) < 0.6 * len(b"".join(packed(grey, photo=False)))


def test_a_large_photograph_is_not_held_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    monkeypatch.setattr(module, "WHOLE", 256 * (1 + 3 * 256) - 1)
    chunks = packed(picture, photo=True)
    assert max(map(len, chunks)) < picture.nbytes / 2
    assert chunks == packed(picture, photo=False)
