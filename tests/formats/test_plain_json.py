"""The plain JSON: what is known of every object, its measures, and sums that fit."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from exportd.core.dataset import Annotation, Image, MemoryDataset, Points, Polygon, Polyline, Project
from exportd.core.options import ExportOptions
from exportd.formats.member import Tick
from exportd.formats.plain_json import PATH, plain_json

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def dataset(*annotations: Annotation) -> MemoryDataset:
    images = tuple(
        Image(f"i{n}", f"{n} (2).png", f"{n}.png", 100, 50, "image/png", 1, created_at=NOON)
        for n in range(len(annotations))
    )
    by_id = {image.id: annotation for image, annotation in zip(images, annotations, strict=True)}
    return MemoryDataset(Project("p", "Title", "sperm", "u"), images, by_id)


def export(source: MemoryDataset, scale: float | None = None) -> tuple[dict[str, Any], list[str]]:
    """The document and the images that were counted."""
    (member,) = plain_json(source, ExportOptions(annotation_formats=("json",), pixel_to_micrometer_scale=scale))
    assert member.path == PATH
    values = list(member.chunks)
    return orjson.loads(b"".join(v for v in values if isinstance(v, bytes))), [
        v.item for v in values if isinstance(v, Tick)
    ]


CELL = Polygon("a", 1, square(10, 20, 8), (square(12, 22, 2),), "head", "s1", 0.9, complete=False)
TAIL = Polyline("b", np.array([(0.0, 0.0), (3, 4), (3, 10)]), "tail", "s1", "t1", "one")


def test_an_object_stands_there_with_all_that_is_known_of_it() -> None:
    document, counted = export(dataset(Annotation((CELL,), (TAIL,), ("a warning",), True, "hrnet", 0.5, 0.8)))
    (image,) = document["images"]
    assert counted == ["0 (2).png"]
    assert (image["name"], image["originalName"], image["width"], image["height"]) == ("0 (2).png", "0.png", 100, 50)
    assert (image["model"], image["threshold"], image["confidence"]) == ("hrnet", 0.5, 0.8)
    assert image["createdAt"] == "2026-01-31T12:00:00.000Z"
    assert image["warnings"] == ["a warning"]
    (polygon,) = image["polygons"]
    assert polygon == {
        "id": "a",
        "number": 1,
        "class": "head",
        "partClass": "head",
        "instanceId": "s1",
        "confidence": 0.9,
        "complete": False,
        "points": [[10, 20], [18, 20], [18, 28], [10, 28]],
        "holes": [[[12, 22], [14, 22], [14, 24], [12, 24]]],
        "area": 60,
        "perimeter": 32,
        "perimeterWithHoles": 40,
        "boundingBox": {"x": 10, "y": 20, "width": 8, "height": 8},
        "centroid": pytest.approx({"x": (64 * 14 - 4 * 13) / 60, "y": (64 * 24 - 4 * 23) / 60}),
    }
    (line,) = image["polylines"]
    assert (line["id"], line["class"], line["trackId"], line["name"], line["length"]) == ("b", "tail", "t1", "one", 11)
    assert image["instances"] == [{"id": "s1", "polygons": ["a"], "polylines": ["b"]}]


def test_a_scale_adds_values_in_micrometres_and_leaves_the_pixels() -> None:
    document, _ = export(dataset(Annotation((CELL,), (TAIL,), segmented=True)), 0.5)
    (image,) = document["images"]
    (polygon,) = image["polygons"]
    assert document["pixelToMicrometerScale"] == 0.5
    assert (polygon["area"], polygon["areaUm2"]) == (60, 15)
    assert (polygon["perimeter"], polygon["perimeterUm"], polygon["perimeterWithHolesUm"]) == (32, 16, 20)
    assert polygon["boundingBoxUm"] == {"x": 5, "y": 10, "width": 4, "height": 4}
    assert polygon["centroidUm"]["x"] == polygon["centroid"]["x"] / 2
    assert image["polylines"][0]["lengthUm"] == 5.5
    assert document["statistics"]["totalAreaUm2"] == 15


def test_sums_are_those_of_the_objects() -> None:
    both = Annotation((CELL, Polygon("c", 2, square(0, 0, 2))), (TAIL, TAIL), segmented=True)
    document, _ = export(dataset(both, Annotation(segmented=True), Annotation(), Annotation((CELL,), segmented=True)))
    first, empty = document["images"][0]["statistics"], document["images"][1]["statistics"]
    assert first == {
        "polygons": 2,
        "holes": 1,
        "polylines": 2,
        "totalArea": 64,
        "meanArea": 32,
        "totalLength": 22,
        "areaFraction": 64 / 5000,
    }
    assert (empty["polygons"], empty["meanArea"]) == (0, None)
    assert document["statistics"] == {
        "images": 4,
        "segmentedImages": 3,
        "imagesWithObjects": 2,
        "polygons": 3,
        "holes": 2,
        "polylines": 2,
        "totalArea": 124,
        "meanArea": pytest.approx(124 / 3),
        "totalLength": 22,
    }
    assert [image["segmented"] for image in document["images"]] == [True, True, False, True]


def test_a_value_that_does_not_exist_is_null() -> None:
    tie = Polygon("tie", 1, np.array([(0.0, 0.0), (9, 9), (9, 0), (0, 9)]))
    document, _ = export(dataset(Annotation((tie,), segmented=True)), 2.0)
    (polygon,) = document["images"][0]["polygons"]
    assert (polygon["area"], polygon["centroid"], polygon["centroidUm"]) == (0, None, None)


def test_values_are_not_rounded() -> None:
    small = Polygon("a", 1, square(0, 0, 1 / 3))
    document, _ = export(dataset(Annotation((small,), segmented=True)), 0.001)
    assert document["images"][0]["polygons"][0]["areaUm2"] == pytest.approx(1e-6 / 9, rel=1e-12)
