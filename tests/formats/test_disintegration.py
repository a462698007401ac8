"""The disintegration panel against scikit-image 0.26.0 and shapely 2.2.0 on whole rasters, and by hand."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import measure
from skimage.morphology import closing

from exportd.core.dataset import Points, Polygon
from exportd.formats import disintegration
from exportd.formats.disintegration import Panel, panel

WIDTH, HEIGHT = 90, 70

Mask = NDArray[np.bool_]
label: Any = measure.label  # has no types


def of(polygons: list[Polygon], width: int = WIDTH, height: int = HEIGHT) -> Panel | None:
    steps = panel(polygons, width, height)
    while True:
        try:
            assert next(steps) is None
        except StopIteration as stop:
            found: Panel | None = stop.value
            return found


def disc(x: float, y: float, radius: float, part: str | None = None, holes: tuple[Points, ...] = ()) -> Polygon:
    return Polygon("p", 1, circle(x, y, radius), holes, part)


def circle(x: float, y: float, radius: float) -> Points:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], axis=1)


def reference(polygons: list[Polygon], width: int, height: int) -> Panel | None:
    """By the words of the specification, on rasters of the whole image."""
    y, x = np.mgrid[:height, :width]

    def raster(chosen: list[Polygon]) -> Mask:
        shapes = [shapely.Polygon(p.points, p.holes) for p in chosen]
        found: Mask = np.any([shapely.contains_xy(s, x + 0.5, y + 0.5) for s in shapes], axis=0)
        return found

    whole, core = raster(polygons), raster([p for p in polygons if p.part_class == "core"])
    if not core.any():
        return None
    radius = math.sqrt(core.sum() / math.pi)
    d = np.sort(np.hypot(x - x[core].mean(), y - y[core].mean())[whole] / radius)
    closed = closing(np.pad(whole, 2), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)).astype(bool))[2:-2, 2:-2]
    fragments = [n for n in np.bincount(label(closed, connectivity=2).ravel())[1:] if n >= 30]
    background = label(np.pad(~whole, 1, constant_values=True), connectivity=1)
    holes = np.bincount(background.ravel())
    holes[[0, background[0, 0]]] = 0
    hull = shapely.convex_hull(shapely.MultiPoint(np.column_stack([x[whole], y[whole]]))).area
    return Panel(
        index=math.tanh(np.abs(d - np.sqrt((np.arange(len(d)) + 0.5) / len(d))).mean()),
        reach=float(np.percentile(d, 95)),
        dispersed=float((whole & ~core).sum() / whole.sum()),
        fragments=len(fragments),
        largest=max(fragments) / sum(fragments) if fragments else None,
        solidity=min(1, whole.sum() / hull) if hull > 0 else None,
        holes=int((holes >= 30).sum()),
        core_diameter=2 * radius,
        whole_diameter=2 * math.sqrt(whole.sum() / math.pi),
    )


def agree(found: Panel | None, expected: Panel | None) -> None:
    assert (found is None) == (expected is None)
    if found and expected:
        for name in Panel.__slots__:
            ours, theirs = getattr(found, name), getattr(expected, name)
            assert ours == (theirs if theirs is None else pytest.approx(theirs, rel=1e-9, abs=1e-9)), name


spot = st.tuples(st.floats(8, 82), st.floats(8, 62), st.floats(0.5, 12))


@settings(max_examples=25)
@given(spot, st.lists(spot, max_size=8), st.booleans())
def test_the_panel_is_that_of_whole_rasters(
    core: tuple[float, float, float], spots: list[tuple[float, float, float]], open_: bool
) -> None:
    polygons = [
        disc(*core, "core"),
        *(disc(x, y, r, None, (circle(x, y, 0.7 * r),) if open_ else ()) for x, y, r in spots),
    ]
    # Closing at the very edge of an image is a matter of taste: spots stay within.
    polygons = [p for p in polygons if p.points.min() > 4 and (p.points.max(axis=0) < (WIDTH - 4, HEIGHT - 4)).all()]
    if any(p.part_class for p in polygons):
        agree(of(polygons), reference(polygons, WIDTH, HEIGHT))


@pytest.mark.parametrize("stripe", [1, 80, 300, 1000])
def test_stripes_do_not_show(stripe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    polygons = [disc(45, 35, 9, "core"), disc(45, 35, 24, None, (circle(40, 35, 18),))]
    polygons += [disc(*rng.uniform((6, 6, 1), (84, 64, 5)).tolist()) for _ in range(12)]
    polygons = [p for p in polygons if p.points.min() > 4 and (p.points.max(axis=0) < (WIDTH - 4, HEIGHT - 4)).all()]
    monkeypatch.setattr(disintegration, "STRIPE", stripe)
    agree(of(polygons), reference(polygons, WIDTH, HEIGHT))


def test_a_spheroid_that_is_all_core_has_not_disintegrated() -> None:
    found = of([disc(100, 100, 60, "core"), disc(100, 100, 60)], 200, 200)
    assert found is not None
    assert found.index < 0.005
    assert found.reach == pytest.approx(math.sqrt(0.95), abs=0.005)
    assert (found.dispersed, found.fragments, found.largest, found.holes) == (0, 1, 1, 0)
    assert found.solidity == 1
    assert found.core_diameter == found.whole_diameter == pytest.approx(120, rel=0.005)


def test_a_ring_around_its_core_has_a_hole_and_most_of_its_mass_outside() -> None:
    found = of([disc(100, 100, 20, "core"), disc(100, 100, 60, None, (circle(100, 100, 40),))], 200, 200)
    assert found is not None
    assert (found.fragments, found.holes) == (2, 1)
    assert found.dispersed == pytest.approx(2000 / 2400, rel=0.01)
    assert found.largest == pytest.approx(2000 / 2400, rel=0.01)


def test_a_region_that_the_edge_of_the_image_closes_is_no_hole() -> None:
    arch = np.array([(0.0, 0), (60, 0), (60, 40), (40, 40), (40, 20), (20, 20), (20, 40), (0, 40)])
    found = of([disc(10, 10, 5, "core"), Polygon("a", 2, arch)], 60, 40)
    assert found is not None
    assert found.holes == 0


def test_without_a_pixel_of_a_core_there_is_no_panel() -> None:
    assert of([]) is None
    assert of([disc(40, 40, 10)]) is None
    assert of([disc(40, 40, 10), disc(500, 500, 10, "core")]) is None
    assert of([disc(40, 40, 10), disc(40.0, 40.0, 0.1, "core")]) is None
    assert of([disc(-500, 40, 10, "core")]) is None
