"""Measures of many rings at once, against shapely and against what a person can compute."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from exportd.core.dataset import Points, Polygon
from exportd.core.geometry import (
    Regions,
    Rings,
    areas,
    boxes,
    lengths,
    perimeters,
    pieces,
    region_areas,
    region_centroids,
    region_perimeters,
    shapes,
    signed_areas,
)

corner = st.tuples(st.integers(-50, 500), st.integers(-50, 500))
ring = st.lists(corner, min_size=3, max_size=12, unique=True).map(lambda corners: np.array(corners, dtype=np.float64))


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


@given(st.lists(ring, max_size=5))
def test_rings_are_measured_as_if_each_were_alone(found: list[Points]) -> None:
    rings = Rings.of(found)
    assert [len(r) for r in rings.each()] == [len(r) for r in found]
    outlines = [shapely.LinearRing(r) for r in found]
    assert perimeters(rings) == pytest.approx([o.length for o in outlines])
    assert lengths(rings) == pytest.approx([shapely.LineString(r).length for r in found])
    assert areas(rings) == pytest.approx([shapely.Polygon(r).area for r in found], abs=1e-6)
    assert boxes(rings).tolist() == [list(o.bounds) for o in outlines]


@given(st.lists(ring, min_size=1, max_size=5))
def test_a_ring_may_run_either_way(found: list[Points]) -> None:
    there, back = Rings.of(found), Rings.of([r[::-1] for r in found])
    assert signed_areas(there) == pytest.approx(-signed_areas(back), abs=1e-6)
    assert areas(there) == pytest.approx(areas(back), abs=1e-6)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0.1, 400), st.booleans())
def test_a_region_is_its_outline_without_its_holes(x: float, y: float, side: float, reverse: bool) -> None:
    outer, hole = square(x, y, side), square(x, y, side / 2)
    regions = Regions.of([Polygon("a", 1, outer, (hole[::-1] if reverse else hole,)), Polygon("b", 2, outer)])
    assert region_areas(regions) == pytest.approx([0.75 * side**2, side**2], rel=1e-6)
    assert region_perimeters(regions) == pytest.approx([6 * side, 4 * side], rel=1e-6)
    # The quarter at the top left is missing: the centre moves by a twelfth of the side away from it.
    centre = np.array([(x, y)]) + np.array([[7 / 12], [1 / 2]]) * side
    assert region_centroids(regions) == pytest.approx(centre, rel=1e-6, abs=1e-4)


def test_small_objects_far_away_lose_no_digits() -> None:
    assert areas(Rings.of([square(9e6, 9e6, 0.5)])).tolist() == [0.25]


def test_a_value_that_does_not_exist_is_nan() -> None:
    outline = square(0, 0, 10)
    regions = Regions.of([Polygon("a", 1, outline, (outline,))])
    assert region_areas(regions).tolist() == [0]
    assert np.isnan(region_centroids(regions)).all()


def test_nothing_has_no_measures() -> None:
    rings, regions = Rings.of([]), Regions.of([])
    for measured in (
        areas(rings),
        perimeters(rings),
        lengths(rings),
        region_areas(regions),
        region_perimeters(regions),
    ):
        assert measured.shape == (0,)
    assert boxes(rings).shape == (0, 4)
    assert region_centroids(regions).shape == (0, 2)
    assert len(shapes(rings)) == 0


@given(st.lists(ring, min_size=1, max_size=4))
def test_every_ring_becomes_a_valid_shape_of_polygons_only(found: list[Points]) -> None:
    for shape, outline in zip(shapes(Rings.of(found)), found, strict=True):
        assert shape.is_valid
        assert shape.area == pytest.approx(sum(piece.area for piece in pieces(shape)), abs=1e-9)
        assert shape.area <= shapely.convex_hull(shapely.MultiPoint(outline)).area + 1e-6


def test_a_bow_tie_covers_both_of_its_wings() -> None:
    (shape,) = shapes(Rings.of([np.array([(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)])]))
    assert shape.area == pytest.approx(50)
