"""CVAT for images read back with ElementTree (and, in test_outside_readers, with datumaro 1.13)."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import numpy as np
import pytest
from exporting import HEIGHT, WIDTH, dataset, export, objects, polygons, rings, square
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from exportd.core.dataset import Annotation, Image, MemoryDataset, Polygon, Polyline, Project
from exportd.formats.classes import CLASSES
from exportd.formats.cvat import PATH, cvat
from exportd.formats.rle import run_lengths, window


def parse(body: bytes) -> ET.Element:
    return ET.fromstring(body)  # noqa: S314 - our own document


def mask(element: ET.Element) -> NDArray[np.bool_]:
    """A mask element as an image of the test's size."""
    left, top, width, height = (int(element.attrib[key]) for key in ("left", "top", "width", "height"))
    runs = [int(run) for run in element.attrib["rle"].split(",")]
    assert sum(runs) == width * height
    assert all(run > 0 for run in runs[1:])
    found = np.zeros((HEIGHT, WIDTH), bool)
    found[top : top + height, left : left + width] = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    return found


def points(element: ET.Element) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in element.attrib["points"].split(";")]
    return [(float(x), float(y)) for x, y in pairs]


def attributes(element: ET.Element) -> dict[str, str]:
    return {row.attrib["name"]: row.text or "" for row in element.iter("attribute")}


def test_objects_stand_in_their_image_with_their_label_and_attributes() -> None:
    some = objects(
        Polygon("a", 1, square(5, 5, 10), (), "core", "cell-1", 0.5, complete=False),
        Polygon("b", 2, square(5, 5, 20), (square(10, 10, 5),)),
        lines=(Polyline("l", np.array([(1.0, 2.0), (3.5, 4.0)]), "tail"),),
    )
    done = export(cvat, dataset(some, Annotation()))
    assert list(done.members) == [PATH]
    assert (done.counted, done.warnings) == (["0.png", "1.png"], [])
    root = parse(done.only())
    assert root.findtext("version") == "1.1"
    first, second = root.findall("image")
    assert first.attrib == {"id": "0", "name": "0.png", "width": "40", "height": "30"}
    assert len(second) == 0
    polygon, hollow, line = first
    assert [each.tag for each in first] == ["polygon", "mask", "polyline"]
    assert [each.attrib["label"] for each in first] == ["core", "spheroid", "tail"]
    assert points(polygon) == [(5, 5), (15, 5), (15, 15), (5, 15)]
    assert points(line) == [(1, 2), (3.5, 4)]
    assert attributes(polygon) == {
        "polygon_id": "a",
        "number": "1",
        "instance_id": "cell-1",
        "confidence": "0.5",
        "complete": "false",
    }
    assert mask(hollow).sum() == 375
    assert not mask(hollow)[10:15, 10:15].any()


def test_every_class_is_a_label_with_a_colour_and_declares_the_attributes_that_are_used() -> None:
    root = parse(export(cvat, dataset(objects(Polygon("a", 1, square(5, 5, 10))))).only())
    labels = root.findall("meta/task/labels/label")
    assert [label.findtext("name") for label in labels] == [row.name for row in CLASSES]
    declared = [{row.findtext("name") for row in label.iter("attribute")} for label in labels]
    used = attributes(root.findall("image/polygon")[0]).keys()
    assert all(used <= names for names in declared)
    assert all(len(label.findtext("color") or "") == 7 for label in labels)


def test_what_reaches_beyond_the_image_is_cut_and_what_is_outside_is_told() -> None:
    comb = np.array([(-5, 2), (5, 2), (5, 4), (-2, 4), (-2, 6), (5, 6), (5, 8), (-5, 8)], dtype=np.float64)
    done = export(
        cvat,
        dataset(
            objects(
                Polygon("far", 1, square(100, 100, 5)),
                Polygon("partly", 2, square(-5, -5, 10)),
                Polygon("comb", 3, comb),
            )
        ),
    )
    (image,) = parse(done.only()).findall("image")
    polygon, parted = image
    assert sorted(points(polygon)) == [(0, 0), (0, 5), (5, 0), (5, 5)]
    assert mask(parted).sum() == 20
    assert len(done.warnings) == 1
    assert "1 polygon is left out" in done.warnings[0]


def test_an_object_too_thin_for_a_mask_is_not_lost() -> None:
    thin = Polygon("thin", 1, square(5.6, 5.6, 2.8), (square(5.7, 5.7, 2.6),))
    runs = run_lengths(thin.points, thin.holes, WIDTH, HEIGHT)
    assert window(runs, HEIGHT) is None
    (image,) = parse(export(cvat, dataset(objects(thin))).only()).findall("image")
    assert [each.tag for each in image] == ["polygon"]
    assert len(points(image[0])) >= 10


@pytest.mark.parametrize("size", [(None, None), (0, 0), (40, None)])
def test_an_image_of_unknown_size_is_left_out_with_a_warning(size: tuple[int | None, int | None]) -> None:
    done = export(cvat, dataset(objects(Polygon("a", 1, square(1, 1, 5))), size=size))
    assert parse(done.only()).findall("image") == []
    assert (done.counted, len(done.warnings)) == (["0.png"], 1)


@given(st.text() | st.sampled_from(["\ud800", "\x00\x1b", "a<b&\"c'>", "\ufffe", "tab\tline\nend\r"]))
def test_any_title_and_any_id_make_a_document(text: str) -> None:
    polygon = Polygon(text, 1, square(1, 1, 5), instance_id=text)
    image = Image("i", "a.png", "a.png", WIDTH, HEIGHT, "image/png", 1)
    source = MemoryDataset(Project("p", text, "cells", "u"), (image,), {"i": objects(polygon)})
    root = parse(export(cvat, source).only())
    seen = [root.findtext("meta/task/name") or "", attributes(root.findall("image/polygon")[0])["instance_id"]]
    assert all(len(each) == len(text) for each in seen)
    if text.isprintable() or text in "tab\tline\nend\r":
        assert seen == [text, text]


def test_times_are_those_of_the_project() -> None:
    made = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    source = MemoryDataset(Project("p", "T", "cells", "u", made, made), ())
    root = parse(export(cvat, source).only())
    assert root.findtext("meta/task/created") == root.findtext("meta/task/updated") == "2026-01-02T03:04:05.000Z"
    assert b"created" not in export(cvat, dataset()).only()


def test_what_a_model_found_is_said_to_be_automatic() -> None:
    polygon = Polygon("a", 1, square(1, 1, 5))
    source = dataset(objects(polygon), Annotation((polygon,), segmented=True, model="unet"))
    root = parse(export(cvat, source).only())
    assert [each.attrib["source"] for each in root.iter("polygon")] == ["manual", "auto"]


@given(rings, st.lists(rings, max_size=2), st.integers(1, WIDTH), st.integers(1, HEIGHT))
def test_rows_hold_the_same_pixels_as_the_columns_of_coco(
    ring: NDArray[np.float64], holes: list[NDArray[np.float64]], width: int, height: int
) -> None:
    runs = run_lengths(ring, holes, width, height)
    expected = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T.astype(bool)
    found = window(runs, height)
    if found is None:
        assert not expected.any()
        return
    box = np.repeat(np.arange(len(found.runs)) % 2, found.runs).reshape(found.height, found.width).astype(bool)
    assert box[[0, -1]].any(axis=1).all()
    assert box[:, [0, -1]].any(axis=0).all()
    painted = np.zeros_like(expected)
    painted[found.top : found.top + found.height, found.left : found.left + found.width] = box
    assert (painted == expected).all()


@given(polygons)
def test_whatever_the_polygons_the_file_is_valid_and_none_is_lost_without_a_word(found: tuple[Polygon, ...]) -> None:
    done = export(cvat, dataset(objects(*found)))
    (image,) = parse(done.only()).findall("image")
    left_out = [sentence for sentence in done.warnings if "left out" in sentence]
    assert len(image) + sum(int(sentence.split()[1]) for sentence in left_out) == len(found)
    for element in image:
        if element.tag == "mask":
            assert mask(element).any()
        else:
            assert len(points(element)) >= 3
            assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(element))
