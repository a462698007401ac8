"""Every exporter over the platform's odd projects: no faulty entry costs more than itself."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from exporting import CASES, ODD_PROJECTS, odd_project
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as reader

from exportd.core.dataset import Image, MemoryDataset, Project
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.table import FORMATS
from exportd.formats.zipping import entry

FILES = ODD_PROJECTS
EXPORTERS = {row.id: row.exporter for row in FORMATS if row.exporter is not None}

here = pytest.mark.skipif(not FILES, reason="the odd projects are not here")


def each_case(test: Any) -> Any:
    return here(pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)(test))


def load(file: Path) -> tuple[MemoryDataset, ExportOptions]:
    dataset, scale = odd_project(file)
    return dataset, ExportOptions.model_validate(
        {"annotation_formats": tuple(EXPORTERS), "pixel_to_micrometer_scale": scale}
    )


def run(format_id: str, dataset: MemoryDataset, options: ExportOptions) -> tuple[dict[str, bytes], Counter[str]]:
    """Members by path, and how often each image was counted."""
    members: dict[str, bytes] = {}
    ticks: Counter[str] = Counter()
    for value in EXPORTERS[format_id](dataset, options):
        if isinstance(value, Tick):
            ticks[value.item] += 1
        elif isinstance(value, Member):
            body = b""
            for chunk in value.chunks:
                if isinstance(chunk, Tick):
                    ticks[chunk.item] += 1
                elif isinstance(chunk, bytes):
                    body += chunk
            assert value.path not in members
            members[value.path] = body
        else:
            assert isinstance(value, Warn)
    return members, ticks


@each_case
@pytest.mark.parametrize("format_id", EXPORTERS)
def test_each_image_is_counted_once_and_the_bytes_are_the_same_again(file: Path, format_id: str) -> None:
    dataset, options = load(file)
    members, ticks = run(format_id, dataset, options)
    assert ticks == Counter(image.name for image in dataset.images)
    assert run(format_id, dataset, options)[0] == members


@each_case
def test_coco_masks_can_be_read_and_are_as_large_as_they_say(file: Path) -> None:
    dataset, options = load(file)
    (body,) = run("coco", dataset, options)[0].values()
    document = orjson.loads(body)
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    assert [a["id"] for a in document["annotations"]] == list(range(1, len(document["annotations"]) + 1))
    for annotation in document["annotations"]:
        height, width = sizes[annotation["image_id"]]
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            assert all(len(ring) >= 6 for ring in shape)
            shape = reader.merge(reader.frPyObjects(shape, height, width))
        else:
            shape = {"size": shape["size"], "counts": shape["counts"].encode()}
        found = int(reader.decode(shape).sum())
        x, y, w, h = annotation["bbox"]
        inside = x >= 0 and y >= 0 and x + w <= width and y + h <= height
        if inside and annotation["area"] >= 1000 and "self_intersecting" not in file.stem:
            assert found == pytest.approx(annotation["area"], rel=0.1)


@each_case
def test_yolo_lines_are_numbers_inside_the_image(file: Path) -> None:
    dataset, options = load(file)
    members, _ = run("yolo", dataset, options)
    for path, body in members.items():
        if path.startswith("labels/"):
            for line in body.decode().splitlines():
                values = np.array(line.split()[1:], dtype=np.float64)
                assert len(values) >= 6
                assert len(values) % 2 == 0
                assert ((values >= 0) & (values <= 1)).all()


@each_case
def test_json_tells_every_image_by_its_name_with_every_usable_polygon(file: Path) -> None:
    dataset, options = load(file)
    (body,) = run("json", dataset, options)[0].values()
    document = orjson.loads(body)
    assert [image["name"] for image in document["images"]] == [image.name for image in dataset.images]
    for row, (_, annotation) in zip(document["images"], dataset.annotated(), strict=True):
        assert len(row["polygons"]) == len(annotation.polygons)
        assert len(row["polylines"]) == len(annotation.polylines)


@here
@pytest.mark.parametrize(
    ("name", "polygons", "holes"),
    [
        ("03_with_hole", 2, 3),
        ("04_hole_outside", 2, 0),
        ("15_nested", 2, 2),
        ("13_5000_vertices", 1, 1),
        ("19_null_entry", 1, 0),
        ("20_no_points", 1, 0),
        ("14_self_intersecting", 2, 0),
    ],
)
def test_polygons_and_their_holes_are_found(name: str, polygons: int, holes: int) -> None:
    dataset, _ = load(CASES / f"{name}.json")
    found = [polygon for _, annotation in dataset.annotated() for polygon in annotation.polygons]
    assert len(found) == polygons
    assert sum(len(polygon.holes) for polygon in found) == holes


@each_case
def test_every_warning_is_a_clause_with_a_count_or_a_reason(file: Path) -> None:
    dataset, _ = load(file)
    for _, annotation in dataset.annotated():
        assert len(set(annotation.warnings)) == len(annotation.warnings)
        assert all(w[0].isdigit() or "cannot be read" in w for w in annotation.warnings)


coordinate = st.integers(-5, 60) | st.floats(-5, 60) | st.sampled_from([1e-9, 10 + 1e-9, 1e7, -1e7, 40, 30])
ring = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["external", "internal"]),
        "points": st.lists(st.fixed_dictionaries({"x": coordinate, "y": coordinate}), min_size=3, max_size=8),
    }
)


@given(st.lists(ring, max_size=5), st.sampled_from([(40, 30), (1, 1), (None, None)]))
def test_no_polygons_at_all_make_an_exporter_fail(rings: list[object], size: tuple[int | None, int | None]) -> None:
    # A hole that fills its outline, and one that is there twice, are what tracers make of thin objects.
    twins = [{**entry, "type": "internal"} for entry in rings if isinstance(entry, dict)]
    annotation = parse_annotation(json.dumps(rings + twins), *size)
    image = Image("i", "a.png", "a.png", *size, "image/png", 1)
    dataset = MemoryDataset(Project("p", "T", "spheroid", "u"), (image,), {"i": annotation})
    options = ExportOptions.model_validate({"annotation_formats": tuple(EXPORTERS)})
    for format_id in EXPORTERS:
        _, ticks = run(format_id, dataset, options)
        assert ticks == {"a.png": 1}


@pytest.mark.parametrize("format_id", EXPORTERS)
@pytest.mark.parametrize("holes", [False, True])
def test_one_image_of_many_objects_has_places_to_look_for_a_cancel(format_id: str, holes: bool) -> None:
    places = [(20 * (n % 50), 20 * (n // 50)) for n in range(1000)]
    rings = [
        (kind, x + edge, y + edge, 15 - 2 * edge)
        for kind, edge in (("external", 0), ("internal", 5))
        for x, y in places
    ]
    entries = [
        {"type": kind, "points": [{"x": x + a * side, "y": y + b * side} for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]}
        for kind, x, y, side in rings[: None if holes else len(places)]
    ]
    image = Image("i", "a.png", "a.png", 1000, 1000, "image/png", 1)
    annotations = {"i": parse_annotation(json.dumps(entries), 1000, 1000)}
    dataset = MemoryDataset(Project("p", "T", "spheroid", "u"), (image,), annotations)
    pieces = 0
    for value in EXPORTERS[format_id](dataset, ExportOptions(annotation_formats=("coco",))):
        pieces += 1
        if isinstance(value, Member):
            pieces += sum(1 for piece in entry(value) if isinstance(piece, bytes))
    assert pieces >= 5
