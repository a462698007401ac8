"""Pixels of every kind as 8-bit RGB."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exportd.formats.display import Display, Rgb, is_picture

RAMP = np.arange(10_000).reshape(100, 100)


def shown(pixels: np.ndarray[Any, Any]) -> Rgb:
    display = Display.of(pixels)
    return display.band(0, display.height)


def test_eight_bit_colours_stay_as_they_are() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
    assert (shown(pixels) == pixels).all()


def test_grey_becomes_three_equal_channels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9), np.uint8)
    assert (shown(pixels) == pixels[..., None]).all()
    assert (shown(pixels[..., None]) == pixels[..., None]).all()


def test_bits_become_black_and_white() -> None:
    assert shown(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]


def test_what_is_transparent_is_blended_over_white() -> None:
    pixels = np.array([[(200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 51)]], np.uint8)
    assert shown(pixels).tolist() == [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]
    assert shown(np.array([[(100, 255), (100, 0)]], np.uint8)).tolist() == [[[100] * 3, [255] * 3]]


def test_an_alpha_that_is_nowhere_set_is_no_alpha() -> None:
    assert shown(np.array([[(200, 100, 0, 0)]], np.uint8)).tolist() == [[[200, 100, 0]]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_wider_values_are_stretched_between_percentiles(dtype: type) -> None:
    grey = shown((RAMP + 500).astype(dtype))[..., 0].ravel()
    assert (np.diff(grey.astype(int)) >= 0).all()
    assert (grey[:50] == 0).all()
    assert (grey[-50:] == 255).all()
    assert abs(int(grey[5000]) - 128) <= 1


def test_a_small_difference_on_a_high_level_is_seen() -> None:
    grey = shown((RAMP // 5000 + 2**40).astype(np.int64))[..., 0]
    assert set(grey.ravel().tolist()) == {0, 255}


def test_colours_are_stretched_together() -> None:
    pixels = np.stack([RAMP, RAMP // 2, RAMP * 0], axis=2).astype(np.uint16)
    red, green, blue = shown(pixels)[90, 50].tolist()
    assert abs(red - 2 * green) <= 2
    assert blue == 0


def test_few_bright_spots_on_black_are_seen() -> None:
    pixels = np.zeros((100, 100), np.uint16)
    pixels[50, 50] = 300
    assert shown(pixels)[50, 50].tolist() == [255] * 3


def test_what_is_no_number_is_black_and_does_not_count() -> None:
    pixels = (RAMP + 500).astype(np.float64)
    pixels[99] = np.nan
    pixels[98] = np.inf
    pixels[97] = -np.inf
    grey = shown(pixels)[..., 0]
    assert (grey[97:] == 0).all()
    assert (grey[96, 60:] == 255).all()


@pytest.mark.parametrize("value", [0, 7, 60_000])
def test_a_picture_of_one_value_is_no_division_by_zero(value: int) -> None:
    assert (shown(np.full((5, 5), value, np.uint16)) == 0).all()
    assert (shown(np.full((5, 5), np.nan)) == 0).all()


@given(
    hnp.arrays(
        st.one_of(hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes(), hnp.boolean_dtypes()),
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=5),
    )
)
def test_no_value_is_too_much(pixels: np.ndarray[Any, Any]) -> None:
    assert is_picture(pixels)
    assert shown(pixels).shape == (*pixels.shape[:2], 3)


def test_bands_are_rows_of_the_whole() -> None:
    pixels = np.random.default_rng(1).integers(0, 60_000, (50, 20, 4)).astype(np.uint16)
    display = Display.of(pixels)
    whole = display.band(0, 50)
    assert (np.concatenate([display.band(0, 13), display.band(13, 50)]) == whole).all()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,), (2, 2, 2, 2), (3, 3, 0)])
def test_nothing_to_see(shape: tuple[int, ...]) -> None:
    assert not is_picture(np.zeros(shape, np.uint8))
