"""The platform's odd projects through GeoJSON, CVAT and Labelme: whatever can be used is there, in valid files."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import shapely
from exporting import ODD_PROJECTS, export, odd_project
from shapely.geometry import shape

from exportd.formats.cvat import cvat
from exportd.formats.geojson import geojson
from exportd.formats.labelme import labelme

FILES = ODD_PROJECTS

pytestmark = [
    pytest.mark.skipif(not FILES, reason="the odd projects are not here"),
    pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem),
]


def test_geojson_has_every_object_and_every_line(file: Path) -> None:
    dataset, _ = odd_project(file)
    done = export(geojson, dataset)
    assert done.counted == [image.name for image in dataset.images]
    assert export(geojson, dataset).members == done.members
    for image, annotation in dataset.annotated():
        features = json.loads(done.members[f"annotations/geojson/{image.stem}.geojson"])["features"]
        assert len(features) == len(annotation.polygons) + len(annotation.polylines)
        assert all(shape(feature["geometry"]).is_valid for feature in features)
    assert done.warnings == []


def test_labelme_has_every_object_and_every_line(file: Path) -> None:
    dataset, _ = odd_project(file)
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
    dataset, _ = odd_project(file)
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
