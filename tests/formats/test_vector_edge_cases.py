"""The platform's odd projects through GeoJSON, CVAT and Labelme: whatever can be used is there, in valid files."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import shape
from vector import export

from exportd.core.dataset import Image, MemoryDataset, Project
from exportd.core.polygons import parse_annotation
from exportd.formats.cvat import cvat
from exportd.formats.geojson import geojson
from exportd.formats.labelme import labelme
from exportd.formats.naming import archive_names

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "edge_cases"
FILES = sorted(CASES.glob("*.json"))

pytestmark = [
    pytest.mark.skipif(not FILES, reason="the odd projects are not here"),
    pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem),
]


def load(file: Path) -> MemoryDataset:
    case: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rows = case["images"]
    names = archive_names([row["name"] for row in rows])
    images = tuple(
        Image(row["id"], name, row["name"], row["width"], row["height"], "image/png", 1)
        for row, name in zip(rows, names, strict=True)
    )
    annotations = {row["id"]: parse_annotation(row["polygons"], row["width"], row["height"]) for row in rows}
    return MemoryDataset(Project("p", case["case"], case["projectType"], "u"), images, annotations)


def test_geojson_has_every_object_and_every_line(file: Path) -> None:
    dataset = load(file)
    done = export(geojson, dataset)
    assert done.counted == [image.name for image in dataset.images]
    assert export(geojson, dataset).members == done.members
    for image, annotation in dataset.annotated():
        features = json.loads(done.members[f"annotations/geojson/{image.stem}.geojson"])["features"]
        assert len(features) == len(annotation.polygons) + len(annotation.polylines)
        assert all(shape(feature["geometry"]).is_valid for feature in features)
    assert done.warnings == []


def test_labelme_has_every_object_and_every_line(file: Path) -> None:
    dataset = load(file)
    done = export(labelme, dataset)
    assert done.counted == [image.name for image in dataset.images]
    assert export(labelme, dataset).members == done.members
    for image, annotation in dataset.annotated():
        shapes = json.loads(done.members[f"annotations/labelme/{image.stem}.json"])["shapes"]
        groups = {each["group_id"] for each in shapes if each["shape_type"] == "polygon"}
        assert groups == {polygon.number for polygon in annotation.polygons}
        assert sum(each["shape_type"] == "linestrip" for each in shapes) == len(annotation.polylines)
    assert done.warnings == []


def test_cvat_has_every_object_that_is_in_an_image_of_known_size(file: Path) -> None:
    dataset = load(file)
    done = export(cvat, dataset)
    assert done.counted == [image.name for image in dataset.images]
    assert export(cvat, dataset).members == done.members
    by_name = {element.attrib["name"]: element for element in ET.fromstring(done.only()).iter("image")}  # noqa: S314 - our own
    for image, annotation in dataset.annotated():
        if not (image.width and image.height):
            assert image.name not in by_name
            assert any(image.name in sentence for sentence in done.warnings)
            continue
        frame = shapely.box(0, 0, image.width, image.height)
        inside = [p for p in annotation.polygons if shapely.Polygon(p.points).buffer(0).intersection(frame).area > 0]
        written = [element for element in by_name[image.name] if element.tag in ("polygon", "mask")]
        assert len(written) == len(inside)
