"""Polygons as the platform stores them: what is bad costs only itself, and a hole has one owner."""

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
from growing import SQUARE, growth
from hypothesis import given
from hypothesis import strategies as st

from exportd.core.dataset import Annotation
from exportd.core.geometry import Regions, region_areas
from exportd.core.polygons import parse_annotation


def ring(x: float, y: float, size: float, kind: str = "external", **more: Any) -> dict[str, Any]:
    corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
    return {"type": kind, "points": [{"x": a, "y": b} for a, b in corners], **more}


def parse(*entries: object, size: int = 400) -> Annotation:
    return parse_annotation(json.dumps(entries), size, size)


@pytest.mark.parametrize("text", ["[{", "", "42", '{"a": 1}', '"x"'])
def test_text_that_is_no_list_of_polygons_is_told(text: str) -> None:
    annotation = parse_annotation(text, 10, 10)
    assert annotation.polygons == ()
    assert len(annotation.warnings) == 1


def test_an_image_that_was_never_segmented_has_nothing_to_warn_of() -> None:
    annotation = parse_annotation(None, 10, 10)
    assert not annotation.segmented
    assert (annotation.polygons, annotation.polylines, annotation.warnings) == ((), (), ())


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        {},
        {"type": "external"},
        {"type": "external", "points": []},
        {"type": "external", "points": [None, None, None]},
        {"type": "external", "points": [{"x": 1}, {"x": 2}, {"x": 3}]},
        {"type": "external", "points": [{"x": 1, "y": None}] * 3},
        {"type": "external", "points": [{"x": "a", "y": 1}] * 3},
        {"type": "external", "points": [{"x": 1e300, "y": 1}, {"x": 2, "y": 2}, {"x": 3, "y": 1}]},
        {"type": "external", "points": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]},
        {"type": "external", "points": [{"x": 1, "y": 1}, {"x": 2, "y": 2}, {"x": 3, "y": 3}]},
        {"type": "external", "geometry": "polyline", "points": [{"x": 1, "y": 1}]},
        ring(300, 300, 10, "internal"),
    ],
)
def test_a_bad_entry_costs_only_itself(bad: object) -> None:
    annotation = parse(ring(0, 0, 10), bad, ring(20, 20, 10))
    assert [p.number for p in annotation.polygons] == [1, 2]
    assert len(annotation.warnings) == 1
    assert "left out" in annotation.warnings[0]


def test_repairs_are_told() -> None:
    text_coordinates = {
        "type": "external",
        "points": [{"x": "1", "y": "1"}, {"x": "9", "y": "1"}, {"x": "5", "y": "9"}],
    }
    annotation = parse(text_coordinates, {**ring(0, 0, 5), "type": "other"}, ring(390, 390, 20))
    assert len(annotation.polygons) == 3
    assert len(annotation.warnings) == 3


def test_closing_points_and_repeated_points_go() -> None:
    points = [(0, 0), (0, 0), (9, 0), (9, 9), (9, 9), (0, 9), (0, 0)]
    annotation = parse({"type": "external", "points": [{"x": x, "y": y} for x, y in points]})
    assert annotation.polygons[0].points.tolist() == [[0, 0], [9, 0], [9, 9], [0, 9]]


def test_a_hole_belongs_to_the_smallest_object_around_it() -> None:
    annotation = parse(
        ring(50, 50, 300), ring(100, 100, 200, "internal"), ring(150, 150, 100), ring(180, 180, 40, "internal")
    )
    outer, island = annotation.polygons
    assert region_areas(Regions.of([outer, island])).tolist() == [90_000 - 40_000, 10_000 - 1_600]


def test_what_fills_a_hole_does_not_own_it() -> None:
    annotation = parse(ring(0, 0, 300), ring(100, 100, 100, "internal"), ring(99, 99, 102))
    assert [len(p.holes) for p in annotation.polygons] == [1, 0]


def test_rounding_does_not_decide_where_a_hole_belongs() -> None:
    annotation = parse(ring(0, 0, 100), ring(-0.1, 20, 40, "internal"))
    assert len(annotation.polygons[0].holes) == 1


def test_a_bow_tie_is_kept() -> None:
    points = [{"x": x, "y": y} for x, y in [(50, 50), (150, 150), (150, 50), (50, 150)]]
    assert len(parse({"type": "external", "points": points}).polygons) == 1


def test_a_hundred_thousand_points_are_no_matter() -> None:
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    points = [{"x": 200 + 100 * c, "y": 200 + 100 * s} for c, s in zip(np.cos(angle), np.sin(angle), strict=True)]
    (polygon,) = parse({"type": "external", "points": points}).polygons
    assert region_areas(Regions.of([polygon]))[0] == pytest.approx(np.pi * 1e4, rel=1e-6)


@pytest.mark.parametrize("text", ["1", "1.", " ", "e", "1e"])
def test_a_number_written_as_text_is_read_in_no_time_however_long(text: str) -> None:
    def read(size: int) -> object:
        return parse({"type": "external", "points": [{"x": f"{text * size}x", "y": 1}] * 3}).polygons

    assert growth(read, 250) < SQUARE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-99, 999) | st.sampled_from(["", "x", "external", "5"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "points", "x", "y", "geometry", "id", "partClass"]), inner, max_size=5
        )
    ),
    max_leaves=30,
)


@given(json_values)
def test_no_json_at_all_raises(value: object) -> None:
    annotation = parse_annotation(json.dumps(value), 100, 100)
    assert [p.number for p in annotation.polygons] == list(range(1, len(annotation.polygons) + 1))


def test_an_outline_of_thousands_of_holes_is_paired_in_no_time() -> None:
    holes = [ring(10 + 20 * i, 10 + 20 * j, 10, "internal") for i in range(70) for j in range(70)]
    (polygon,) = parse_annotation(json.dumps([ring(0, 0, 1500), *holes]), 1500, 1500).polygons
    assert len(polygon.holes) == 4900


def test_fields_of_a_polygon_are_kept_and_odd_ones_are_no_harm() -> None:
    annotation = parse(
        ring(0, 0, 9, id="a", partClass="core", instanceId=7, confidence=0.5, complete=False),
        ring(20, 0, 9, id=12, partClass="wing", instanceId={}, confidence="high"),
        {"geometry": "polyline", "points": [{"x": 1, "y": 1}, {"x": 4, "y": 5}], "trackId": "t", "name": "n"},
        ring(40, 0, 9, id=""),
    )
    one, two, three = annotation.polygons
    assert (one.id, one.part_class, one.instance_id, one.confidence, one.complete) == ("a", "core", "7", 0.5, False)
    assert (two.id, two.part_class, two.instance_id, two.confidence, two.complete) == ("12", None, None, None, True)
    assert three.id == "p3"
    (line,) = annotation.polylines
    assert (line.id, line.track_id, line.name) == ("p2", "t", "n")
    assert annotation.warnings == ("1 polygon has an unknown part class, which was dropped",)


def test_several_faults_of_one_kind_are_one_sentence() -> None:
    assert parse(None, 7, ring(0, 0, 9)).warnings == ("2 entries are no polygons and were left out",)


def test_points_that_were_handed_out_cannot_be_changed() -> None:
    (polygon,) = parse(ring(0, 0, 9)).polygons
    with pytest.raises(ValueError, match="read-only"):
        polygon.points[0] = 1


def test_many_polygons_are_read_in_steps_between_which_it_listens() -> None:
    entries = [ring(20 * (n % 50), 20 * (n // 50), 15) for n in range(2500)]
    holes = [ring(20 * (n % 50) + 5, 20 * (n // 50) + 5, 5, "internal") for n in range(2500)]
    text = json.dumps(entries + holes)
    heard: list[int] = []
    annotation = parse_annotation(text, 1000, 1000, check=lambda: heard.append(1))
    assert [len(p.holes) for p in annotation.polygons] == [1] * 2500
    assert [p.id for p in annotation.polygons] == [f"p{n}" for n in range(2500)]
    assert annotation.warnings == ()
    for moment in (1, 3, len(heard) // 2, len(heard)):
        left = iter(range(moment - 1))  # so many looks, then the next one raises
        with pytest.raises(StopIteration):
            parse_annotation(text, 1000, 1000, check=partial(next, left))
