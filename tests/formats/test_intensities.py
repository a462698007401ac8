"""Intensities of objects against scikit-image 0.26.0 (`regionprops_table`) and pycocotools 2.0.11 (masks)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as reader

from exportd.core.dataset import Pixels, Points, Polygon
from exportd.core.geometry import Floats
from exportd.formats import intensities as module
from exportd.formats import object_pixels
from exportd.formats.intensities import STATISTICS, intensities
from exportd.formats.rle import compressed, run_lengths

WIDTH, HEIGHT = 60, 40


def of(polygons: list[Polygon], pixels: Pixels) -> Floats:
    steps = intensities(polygons, pixels)
    while True:
        try:
            assert next(steps) is None
        except StopIteration as stop:
            found: Floats = stop.value
            return found


def box(x: float, y: float, width: float, height: float) -> Points:
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)


def polygon(*rings: Points) -> Polygon:
    return Polygon("p", 1, rings[0], rings[1:])


def values(polygon: Polygon, channel: Pixels) -> Floats:
    """Through the mask that COCO carries."""
    height, width = channel.shape
    runs = run_lengths(polygon.points, polygon.holes, width, height)
    mask = reader.decode({"size": [height, width], "counts": compressed(runs)}).astype(bool)
    found = channel[mask].astype(np.float64)
    numbers: Floats = found[np.isfinite(found)]
    return numbers


def expected(found: Floats) -> list[float]:
    if not len(found):
        return [np.nan] * len(STATISTICS)
    return [found.mean(), found.std(), found.min(), found.max(), float(np.median(found)), found.sum()]


def image(kind: str, channels: int) -> Pixels:
    rng = np.random.default_rng(7)
    shape = (HEIGHT, WIDTH) if channels == 0 else (HEIGHT, WIDTH, channels)
    if kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if kind.startswith("float"):
        pixels = rng.normal(0, 1e3, shape).astype(kind)
        pixels[rng.random(shape) < 0.1] = np.nan
        return pixels
    return rng.integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


corner = st.tuples(st.floats(-10, 70), st.floats(-10, 50))
ring = st.lists(corner, min_size=3, max_size=7, unique=True).map(lambda points: np.array(points, np.float64))


@settings(max_examples=60)
@given(
    st.lists(st.lists(ring, min_size=1, max_size=2), min_size=1, max_size=4),
    st.sampled_from(["bool", "uint8", "uint16", "uint32", "int16", "float32", "float64"]),
    st.sampled_from([0, 1, 2, 3, 4]),
    st.booleans(),
)
def test_the_statistics_are_those_of_the_coco_mask(
    rings: list[list[Points]], kind: str, channels: int, large: bool
) -> None:
    polygons, pixels = [polygon(*some) for some in rings], image(kind, channels)
    with pytest.MonkeyPatch.context() as patch:
        if large:  # as if each object had millions of pixels
            patch.setattr(module, "STEP", 1)
            patch.setattr(object_pixels, "STEP", 37)
        found = of(polygons, pixels)
    planes = [pixels] if channels == 0 else [pixels[:, :, c] for c in range(1 if channels < 3 else 3)]
    for i, some in enumerate(polygons):
        for c in range(3):
            row = expected(values(some, planes[c])) if c < len(planes) else [np.nan] * len(STATISTICS)
            assert found[i, c] == pytest.approx(row, rel=1e-6, abs=1e-6, nan_ok=True)


def test_several_objects_together_are_measured_as_if_each_were_alone() -> None:
    rng = np.random.default_rng(1)
    polygons = [polygon(box(*rng.uniform(0, 50, 2), *rng.uniform(0.1, 12, 2))) for _ in range(150)]
    pixels = image("uint16", 3)
    together = of(polygons, pixels)
    for some, row in zip(polygons, together, strict=True):
        assert row == pytest.approx(of([some], pixels)[0], nan_ok=True)


def test_values_by_hand_without_the_hole_and_what_is_no_number() -> None:
    pixels = np.arange(100, dtype=np.float32).reshape(10, 10)
    pixels[0, 3] = np.inf
    (row,) = of([polygon(box(0, 0, 4, 3), box(1, 1, 2, 1))], pixels)[:, 0]
    assert row.tolist() == pytest.approx(expected(np.array([0, 1, 2, 10, 13, 20, 21, 22, 23.0])))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_how_the_pixels_lie_in_memory_is_all_the_same(kind: str) -> None:
    polygons, pixels = [polygon(box(3, 3, 20, 20)), polygon(box(-5, -5, 90, 90))], image(kind, 3)
    planes = np.moveaxis(np.ascontiguousarray(np.moveaxis(pixels, 2, 0)), 0, 2)
    assert not planes.flags.c_contiguous
    assert of(polygons, planes).tolist() == of(polygons, pixels).tolist()


def test_alpha_is_no_channel() -> None:
    one, rgba = [polygon(box(0, 0, 5, 5))], image("uint8", 4)
    assert of(one, rgba).tolist() == of(one, rgba[:, :, :3]).tolist()
    grey = of(one, rgba[:, :, :2])
    assert np.isfinite(grey[0, 0]).all()
    assert np.isnan(grey[0, 1:]).all()


def test_what_has_no_pixel_or_no_number_has_no_values() -> None:
    nothing = np.full((HEIGHT, WIDTH), np.nan)
    tiny, outside, seen = polygon(box(5.6, 5.6, 0.1, 0.1)), polygon(box(500, 5, 9, 9)), polygon(box(5, 5, 9, 9))
    assert np.isnan(of([tiny, outside], image("uint8", 3))).all()
    assert np.isnan(of([seen], nothing)).all()
    assert of([], nothing).shape == (0, 3, len(STATISTICS))
