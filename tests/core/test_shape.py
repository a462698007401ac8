"""Shape measures against shapely 2.2.0, scikit-image 0.26.0 and what a person can compute."""

import math
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import measure

from exportd.core.dataset import Points, Polygon
from exportd.core.geometry import Regions, Rings, areas
from exportd.core.polygons import parse_annotation
from exportd.core.shape import Measures, hulls, measures
from exportd.formats.rle import run_lengths

regionprops: Any = measure.regionprops  # has no types
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
NUCLEI = SHARED / "nuclei" / "project.json"

coordinate = st.integers(0, 200) | st.floats(0, 200)
corners = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=10, unique=True)
ring = corners.map(lambda points: np.array(points, np.float64))
size = st.floats(0.1, 500)


def of(*outlines: Points, holes: tuple[Points, ...] = ()) -> Measures:
    return measures(Regions.of([Polygon(str(i), i, outline, holes) for i, outline in enumerate(outlines, start=1)]))


def turned(points: Points, degrees: float) -> Points:
    """Clockwise as seen."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    found: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return found


def box(width: float, height: float, x: float = 0, y: float = 0) -> Points:
    corners: Points = np.array([(0, 0), (width, 0), (width, height), (0, height)]) + np.array((float(x), y))
    return corners


def ellipse(a: float, b: float, vertices: int = 2000) -> Points:
    t = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    return np.stack([a * np.cos(t), b * np.sin(t)], axis=1)


def is_solid(points: Points) -> bool:
    """Simple, and not so thin that digits decide."""
    outline = shapely.Polygon(points)
    return bool(outline.is_valid and outline.area > 1e-3 * outline.length)


@given(size, size, st.floats(0, 179), st.floats(-1e6, 1e6))
def test_a_rectangle_is_measured_as_by_hand_wherever_it_lies(w: float, h: float, angle: float, shift: float) -> None:
    found = of(turned(box(w, h), angle) + np.array((shift, -shift)))
    assert found.area == pytest.approx([w * h], rel=1e-6, abs=1e-8)
    assert found.perimeter == pytest.approx([2 * (w + h)], rel=1e-6, abs=1e-8)
    assert found.feret_max == pytest.approx([math.hypot(w, h)], rel=1e-6, abs=1e-8)
    assert found.feret_min == pytest.approx([min(w, h)], rel=1e-6, abs=1e-8)
    assert found.feret_orthogonal == pytest.approx([2 * w * h / math.hypot(w, h)], rel=1e-6, abs=1e-8)
    assert found.major_axis == pytest.approx([2 * max(w, h) / math.sqrt(3)], rel=1e-5)
    assert found.minor_axis == pytest.approx([2 * min(w, h) / math.sqrt(3)], rel=1e-5)
    assert found.circularity == pytest.approx([math.pi * w * h / (w + h) ** 2], rel=1e-6, abs=1e-8)
    assert found.solidity == pytest.approx([1])
    assert found.convexity == pytest.approx([1])


@given(st.floats(5, 100), st.floats(0.2, 0.9), st.floats(0, 179.9))
def test_an_ellipse_has_its_own_axes_and_direction(a: float, ratio: float, angle: float) -> None:
    b = a * ratio
    found = of(turned(ellipse(a, b), -angle) + np.array((300, 200)))
    assert found.major_axis == pytest.approx([2 * a], rel=1e-5)
    assert found.minor_axis == pytest.approx([2 * b], rel=1e-5)
    assert found.feret_max == pytest.approx([2 * a], rel=1e-5)
    assert found.feret_min == pytest.approx([2 * b], rel=1e-5)
    assert found.feret_orthogonal == pytest.approx([2 * b], rel=1e-5)
    assert found.eccentricity == pytest.approx([math.sqrt(1 - ratio**2)], rel=1e-4)
    off = abs(float(found.orientation[0]) - angle)
    assert min(off, 180 - off) < 1e-6
    assert (found.centroid_x[0], found.centroid_y[0]) == pytest.approx((300, 200))


def test_a_circle_is_round_and_has_no_direction() -> None:
    found = of(ellipse(50, 50, 720))
    for values in (found.circularity, found.sphericity, found.compactness, found.feret_ratio):
        assert values == pytest.approx([1], abs=1e-4)
    assert found.equivalent_diameter == pytest.approx([100], rel=1e-4)
    assert np.isnan(found.orientation).all()
    assert found.eccentricity == pytest.approx([0], abs=1e-6)


def test_the_least_caliper_width_is_not_that_of_the_least_box() -> None:
    found = of(np.array([(100.0, 100), (200, 100), (240, 130), (140, 130)]))
    assert found.feret_min.tolist() == [30]
    assert found.feret_max == pytest.approx([math.hypot(140, 30)])


def test_holes_take_part_in_area_perimeter_and_axes() -> None:
    found = of(box(100, 100), holes=(box(40, 20, 30, 30),))
    assert found.area.tolist() == [9200]
    assert (found.perimeter.tolist(), found.perimeter_with_holes.tolist()) == ([400], [520])
    # Second moments by hand: the hole's own and its shift from the common centre.
    y = (10000 * 50 - 800 * 40) / 9200
    about_y = 100**4 / 12 + 10000 * (50 - y) ** 2 - (40 * 20**3 / 12 + 800 * (40 - y) ** 2)
    about_x = 100**4 / 12 - 20 * 40**3 / 12
    assert found.centroid_y == pytest.approx([y])
    assert found.major_axis == pytest.approx([4 * math.sqrt(max(about_x, about_y) / 9200)])
    assert found.minor_axis == pytest.approx([4 * math.sqrt(min(about_x, about_y) / 9200)])


@settings(max_examples=60)
@given(st.lists(ring, min_size=1, max_size=3))
def test_hulls_and_ferets_are_those_of_all_pairs_and_all_edges(outlines: list[Points]) -> None:
    found = of(*outlines)
    for i, outline in enumerate(outlines):
        hull = shapely.convex_hull(shapely.MultiPoint(outline))
        if hull.geom_type != "Polygon" or hull.area < 1e-3:
            continue
        corners = shapely.get_coordinates(hull)[:-1]
        pairs = list(combinations(corners, 2))
        assert found.hull_area[i] == pytest.approx(hull.area)
        assert found.feret_max[i] == pytest.approx(max(math.dist(a, b) for a, b in pairs))
        assert found.feret_min[i] == pytest.approx(min(width(corners, b - a) for a, b in edges(corners)), abs=1e-6)
        longest = [b - a for a, b in pairs if math.dist(a, b) >= found.feret_max[i] * (1 - 1e-7)]
        assert any(found.feret_orthogonal[i] == pytest.approx(width(corners, d), abs=1e-6) for d in longest)


def edges(corners: Points) -> list[tuple[Points, Points]]:
    return list(zip(corners, np.roll(corners, -1, axis=0), strict=True))


def width(corners: Points, along: Points) -> float:
    """Between the tangents in this direction."""
    shadow = corners @ np.array([-along[1], along[0]]) / np.hypot(*along)
    return float(np.ptp(shadow))


@given(st.lists(ring, min_size=1, max_size=6), ring)
def test_every_value_is_finite_in_its_bounds_or_missing(outlines: list[Points], hole: Points) -> None:
    regions = Regions.of([Polygon(str(i), i, o, (hole,) if i % 2 else ()) for i, o in enumerate(outlines, start=1)])
    found = measures(regions)
    for name, values in asdict(found).items():
        assert values.shape == (len(outlines),), name
        assert not np.isinf(values).any(), name
        assert not (values < 0).any() or name.startswith("centroid"), name
    for values in (found.circularity, found.extent, found.convexity, found.solidity, found.sphericity):
        assert not (values > 1).any()
    assert not (found.compactness < 1 - 1e-9).any()
    assert not (found.feret_min > found.feret_max * (1 + 1e-9)).any()
    assert not (found.feret_min > found.feret_orthogonal * (1 + 1e-9) + 1e-9).any()
    assert not (found.minor_axis > found.major_axis).any()
    assert not (found.orientation >= 180).any()


LENGTHS = (
    "perimeter", "perimeter_with_holes", "equivalent_diameter", "feret_max", "feret_min", "feret_orthogonal",
    "major_axis", "minor_axis", "width", "height",
)  # fmt: skip
AREAS = ("area", "hull_area")
RATIOS = ("circularity", "feret_ratio", "extent", "compactness", "convexity", "solidity", "sphericity")


@settings(max_examples=60)
@given(ring.filter(is_solid), st.sampled_from([0.25, 3, 100]), st.sampled_from([0, -7, 1e6]))
def test_lengths_grow_with_the_scale_areas_with_its_square_and_nothing_by_moving(
    outline: Points, scale: float, shift: float
) -> None:
    # Coordinates that doubles hold exactly: else the shift alone would change the polygon.
    outline = np.round(outline * 64) / 64
    if not is_solid(outline):
        return
    here, there = asdict(of(outline)), asdict(of(outline * scale + shift))
    for names, power in ((LENGTHS, 1), (AREAS, 2), (RATIOS, 0)):
        for name in names:
            assert there[name] == pytest.approx(here[name] * scale**power, rel=1e-6, nan_ok=True), name


def test_equally_long_diameters_are_decided_by_their_direction_not_by_rounding() -> None:
    # Two pairs of corners are 65 apart; the outline is 35 wide across the one along x, 25 across the other.
    outline = np.array([(0.0, 0), (30, -10), (65, 0), (60, 25)])
    shifts = [0.37 * 3**k for k in range(14)]
    found = of(*(np.roll(outline, k, axis=0)[::step] * 0.7 + by for k in range(4) for step in (1, -1) for by in shifts))
    assert found.feret_max == pytest.approx([45.5] * 112)
    assert found.feret_orthogonal == pytest.approx([24.5] * 112)


def test_a_figure_of_eight_has_no_area_and_the_rest() -> None:
    found = of(np.array([(50.0, 50), (150, 150), (150, 50), (50, 150)]))
    for name in ("area", "equivalent_diameter", "circularity", "compactness", "major_axis", "solidity", "centroid_x"):
        assert np.isnan(asdict(found)[name]).all(), name
    assert found.feret_min.tolist() == [100]
    assert found.perimeter == pytest.approx([200 + 200 * math.sqrt(2)])


def test_corners_that_are_nearly_one_corner_do_not_mislead_the_calipers() -> None:
    found = of(np.array([(0, 0), (0, 1), (1, 0), (1, 1), (8.72703577054581e-220, 0), (0, 1.3620868428991334e-135)]))
    assert found.feret_min == pytest.approx([1])
    assert found.feret_max == pytest.approx([math.sqrt(2)])


@given(st.integers(0, 1000), st.floats(0, 90), st.sampled_from([1e-15, 1e-13, 1e-10]))
def test_a_cluster_of_points_is_a_corner(seed: int, angle: float, spread: float) -> None:
    points = np.repeat(turned(box(30, 10), angle), 8, axis=0)
    found = of(points + np.random.default_rng(seed).normal(0, spread, points.shape))
    assert found.feret_min == pytest.approx([10])
    assert found.feret_max == pytest.approx([math.hypot(30, 10)])
    assert found.feret_orthogonal == pytest.approx([600 / math.hypot(30, 10)])


def test_what_lies_on_a_line_has_neither_width_nor_ratio() -> None:
    found = of(np.array([(0.0, 0), (10, 10), (5, 5)]), box(3, 4))
    assert np.isnan([found.area[0], found.feret_max[0], found.feret_min[0], found.feret_ratio[0]]).all()
    assert found.feret_max[1] == 5  # and costs its neighbour nothing


def test_nothing_has_no_measures() -> None:
    assert all(values.shape == (0,) for values in asdict(of()).values())


def test_many_vertices_are_no_matter() -> None:
    found = of(ellipse(4000, 3000, 120_000))
    assert found.feret_max == pytest.approx([8000])
    assert found.feret_min == pytest.approx([6000])


def test_hulls_run_so_that_their_area_is_positive() -> None:
    both = Rings.of([box(2, 3), box(2, 3)[::-1]])
    assert areas(hulls(both)).tolist() == [6, 6]
    assert hulls(both).counts.tolist() == [4, 4]


@pytest.mark.skipif(not NUCLEI.exists(), reason="the real images are not here")
def test_real_outlines_measure_what_outside_libraries_measure() -> None:
    seen = 0
    for row in orjson.loads(NUCLEI.read_bytes())["images"][:6]:
        if row["segmentation"] is None:
            continue
        annotation = parse_annotation(orjson.dumps(row["segmentation"]["polygons"]), row["width"], row["height"])
        found = measures(Regions.of(annotation.polygons))
        solid = [i for i, polygon in enumerate(annotation.polygons) if is_solid(polygon.points)]
        shapes = [shapely.Polygon(p.points, p.holes) for p in annotation.polygons]
        for i in solid:
            shape, hull = shapes[i], shapes[i].convex_hull
            outline = shapely.Polygon(shape.exterior)
            assert found.perimeter[i] == pytest.approx(outline.length, rel=1e-9)
            assert found.convexity[i] == pytest.approx(hull.length / outline.length, rel=1e-9)
            if shape.is_valid:
                assert found.area[i] == pytest.approx(shape.area, rel=1e-9)
                assert found.solidity[i] == pytest.approx(shape.area / hull.area, rel=1e-9)
                assert (found.centroid_x[i], found.centroid_y[i]) == pytest.approx(shape.centroid.coords[0], rel=1e-9)
            seen += 1
        for i in solid[:4]:
            agrees_with_raster(annotation.polygons[i], found, i)
    assert seen > 100


def agrees_with_raster(polygon: Polygon, found: Measures, i: int) -> None:
    """The raster is 16 times as fine; scikit-image counts whole pixels, each with the moments of a square."""
    fine = 16
    low = np.floor(polygon.points.min(axis=0))
    outline, *holes = ((ring - low) * fine for ring in (polygon.points, *polygon.holes))
    w, h = (np.ceil(outline.max(axis=0)) + 1).astype(int).tolist()
    runs = run_lengths(outline, holes, w, h)
    mask = np.repeat(np.arange(len(runs)) % 2, runs).reshape(w, h).T
    (region,) = regionprops(mask)
    assert found.area[i] == pytest.approx(region.area / fine**2, rel=0.01)
    assert found.major_axis[i] == pytest.approx(region.axis_major_length / fine, rel=0.01)
    assert found.minor_axis[i] == pytest.approx(region.axis_minor_length / fine, rel=0.01)
    if found.eccentricity[i] > 0.4:
        assert found.eccentricity[i] == pytest.approx(region.eccentricity, abs=0.02)
        # Theirs is counted from the axis of rows, counter-clockwise.
        off = (float(found.orientation[i]) - math.degrees(region.orientation) - 90) % 180
        assert min(off, 180 - off) < 2
