"""Labelme's files against what its loader (5.5 to 6.0) checks, as a JSON schema for jsonschema 4.26, and Pillow's fill."""

import json
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import shapely
from exporting import dataset, export, objects, polygons, square
from hypothesis import given
from jsonschema import Draft202012Validator

from exportd.core.dataset import Annotation, Polygon, Polyline
from exportd.formats.labelme import labelme

NUMBER_OR_NONE = {"type": ["integer", "null"]}

SHAPE = {
    "type": "object",
    "required": ["label", "points", "shape_type"],
    "properties": {
        "label": {"type": "string", "minLength": 1},
        "points": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}},
        },
        "shape_type": {"enum": ["polygon", "rectangle", "point", "line", "circle", "linestrip", "points", "mask"]},
        "flags": {"type": ["object", "null"], "additionalProperties": {"type": "boolean"}},
        "description": {"type": ["string", "null"]},
        "group_id": NUMBER_OR_NONE,
        "mask": {"type": ["string", "null"]},
    },
    "allOf": [
        {
            "if": {"properties": {"shape_type": {"const": kind}}},
            "then": {"properties": {"points": {"minItems": least}}},
        }
        for kind, least in (("polygon", 3), ("linestrip", 2))
    ],
}

SCHEMA = Draft202012Validator(
    {
        "type": "object",
        "required": ["version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"],
        "properties": {
            "version": {"type": "string"},
            "flags": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "shapes": {"type": "array", "items": SHAPE},
            "imagePath": {"type": "string"},
            "imageData": {"type": ["string", "null"]},
            "imageHeight": NUMBER_OR_NONE,
            "imageWidth": NUMBER_OR_NONE,
        },
    }
)


def load(body: bytes) -> dict[str, Any]:
    """A file that labelme's loader would take."""
    document: dict[str, Any] = json.loads(body)
    SCHEMA.validate(document)
    return document


def area(shape: dict[str, Any]) -> float:
    """By the even-odd rule, as labelme fills."""
    return float(shapely.make_valid(shapely.Polygon(shape["points"])).area)


def test_the_file_says_where_the_image_is_and_what_is_on_it() -> None:
    polygon = Polygon("a", 1, square(5, 5, 10), (), "core", "cell-1", 0.5, complete=False)
    line = Polyline("l", np.array([(1.0, 2.0), (3.0, 4.0)]), "tail", "s", "t", "MT1")
    done = export(labelme, dataset(objects(polygon, lines=(line,)), Annotation()))
    assert (done.counted, done.warnings) == (["0.png", "1.png"], [])
    assert list(done.members) == ["annotations/labelme/0.json", "annotations/labelme/1.json"]
    document = load(done.members["annotations/labelme/0.json"])
    place = PurePosixPath("annotations/labelme") / document["imagePath"]
    assert place.parts == ("annotations", "labelme", "..", "..", "images", "0.png")
    assert (document["imageWidth"], document["imageHeight"], document["imageData"]) == (40, 30, None)
    core, tail = document["shapes"]
    assert (core["label"], core["shape_type"], core["group_id"]) == ("core", "polygon", 1)
    assert core["points"] == [[5, 5], [15, 5], [15, 15], [5, 15]]
    assert (core["polygonId"], core["instanceId"], core["confidence"]) == ("a", "cell-1", 0.5)
    assert (core["number"], core["complete"]) == (1, False)
    assert (tail["label"], tail["shape_type"], tail["description"]) == ("tail", "linestrip", "MT1")
    assert tail["group_id"] is None
    assert load(done.members["annotations/labelme/1.json"])["shapes"] == []


def test_holes_stay_open_and_pieces_of_an_object_are_one_group() -> None:
    hollow = Polygon("a", 1, square(5, 5, 20), (square(10, 10, 5), square(17, 17, 3)))
    parted = Polygon("b", 2, square(0, 0, 10), (np.array([(-1.0, 4.0), (11.0, 4.0), (11.0, 6.0), (-1.0, 6.0)]),))
    first, *others = load(export(labelme, dataset(objects(hollow, parted))).only())["shapes"]
    assert area(first) == pytest.approx(400 - 25 - 9)
    assert [area(shape) for shape in others] == pytest.approx([40, 40])
    assert [shape["group_id"] for shape in (first, *others)] == [1, 2, 2]


@pytest.mark.parametrize("size", [(None, None), (0, 0), (40, None)])
def test_an_image_of_unknown_size_is_no_loss(size: tuple[int | None, int | None]) -> None:
    done = export(labelme, dataset(objects(Polygon("a", 1, square(1, 1, 5))), size=size))
    assert len(load(done.only())["shapes"]) == 1
    assert done.warnings == []


def test_an_object_of_which_its_holes_leave_nothing_is_told_with_a_count() -> None:
    done = export(labelme, dataset(objects(Polygon("a", 1, square(5, 5, 5), (square(4, 4, 9),)))))
    assert load(done.only())["shapes"] == []
    assert len(done.warnings) == 1
    assert "1 polygon is left out" in done.warnings[0]


def test_a_stray_half_of_a_surrogate_pair_makes_nothing_fail() -> None:
    odd = Polygon("\ud800", 1, square(1, 1, 5), instance_id="\udfff")
    (shape,) = load(export(labelme, dataset(objects(odd))).only())["shapes"]
    assert (shape["polygonId"], shape["instanceId"]) == ("?", "?")


def test_many_objects_are_written_with_places_to_look_for_a_cancel() -> None:
    source = dataset(objects(*(Polygon(f"{n}", n, square(n % 30, n % 20, 3)) for n in range(1, 2001))))
    done = export(labelme, source)
    assert len(load(done.only())["shapes"]) == 2000
    assert done.looks > 1000
    assert export(labelme, source).only() == done.only()


@given(polygons)
def test_whatever_the_polygons_the_file_is_valid_and_none_is_lost_without_a_word(found: tuple[Polygon, ...]) -> None:
    done = export(labelme, dataset(objects(*found)))
    shapes = load(done.only())["shapes"]
    lost = sum(int(sentence.split()[1]) for sentence in done.warnings)
    assert len({shape["group_id"] for shape in shapes}) + lost == len(found)
    for polygon in found:
        outline = shapely.Polygon(polygon.points)
        if outline.is_valid and all(shapely.Polygon(hole).is_valid for hole in polygon.holes):
            expected = outline.difference(shapely.union_all([shapely.Polygon(hole) for hole in polygon.holes])).area
            parts = [area(shape) for shape in shapes if shape["group_id"] == polygon.number]
            assert abs(sum(parts) - expected) <= 1e-3 * (1 + expected)
