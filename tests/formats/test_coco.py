"""COCO, read back with pycocotools 2.0."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from exportd.core.dataset import Annotation, Image, MemoryDataset, Points, Project
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.formats.coco import coco, pack, run_lengths
from exportd.formats.member import Tick, Warn

OPTIONS = ExportOptions(annotation_formats=("coco",))
W, H = 40, 30


def centres_inside(rings: tuple[Points, ...], width: int, height: int) -> NDArray[np.bool_]:
    """The even-odd rule at every pixel centre, the slow and plain way."""
    inside = np.zeros((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            px, py = column + 0.5, row + 0.5
            for ring in rings:
                for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                    if (x0 <= px < x1 or x1 <= px < x0) and y0 + (y1 - y0) * (px - x0) / (x1 - x0) <= py:
                        inside[row, column] ^= True
    return inside


coordinate = st.integers(-40, 240).map(lambda v: v / 4 + 0.1)
a_ring = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9).map(np.array)


@given(st.lists(a_ring, min_size=1, max_size=3))
def test_run_lengths_are_the_pixels_whose_centres_lie_inside(rings: list[Points]) -> None:
    counts = run_lengths(tuple(rings), W, H)
    assert counts.sum() == W * H
    mask = mask_api.decode({"size": [H, W], "counts": pack(counts)}).astype(bool)
    assert (mask == centres_inside(tuple(rings), W, H)).all()


def read(dataset: MemoryDataset) -> tuple[dict[str, list[dict[str, object]]], list[object]]:
    (member,) = coco(dataset, OPTIONS)
    chunks = list(member.chunks)
    text = b"".join(c for c in chunks if isinstance(c, bytes))
    return json.loads(text), [c for c in chunks if not isinstance(c, bytes)]


def make_dataset(*texts: str | None, size: tuple[int | None, int | None] = (512, 400)) -> MemoryDataset:
    images = tuple(Image(f"i{n}", f"{n}.png", f"{n}.png", *size, "image/png", 1) for n in range(len(texts)))
    annotations = {i.id: parse_annotation(text, *size) for i, text in zip(images, texts, strict=True)}
    return MemoryDataset(Project("p", "Title", "spheroid", "u"), images, annotations)


def square(x: float, y: float, size: float, kind: str = "external") -> dict[str, object]:
    corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
    return {"type": kind, "points": [{"x": a, "y": b} for a, b in corners]}


def test_a_hole_stays_open_and_the_object_is_no_crowd() -> None:
    text = json.dumps([square(50, 50, 100), square(80, 80, 40, "internal"), square(200, 200, 10)])
    data, _ = read(make_dataset(text))
    ring, plain = data["annotations"]
    assert (ring["iscrowd"], ring["area"], ring["bbox"]) == (0, 8400.0, [50, 50, 100, 100])
    mask = mask_api.decode(ring["segmentation"])
    assert mask.sum() == 8400
    assert mask[80:120, 80:120].sum() == 0
    assert plain["segmentation"] == [[200, 200, 210, 200, 210, 210, 200, 210]]


def test_ids_are_stable_and_every_image_is_counted_once() -> None:
    data, marks = read(make_dataset(json.dumps([square(0, 0, 9)]), None, json.dumps([square(5, 5, 9)])))
    assert [i["id"] for i in data["images"]] == [1, 2, 3]
    assert [(a["id"], a["image_id"]) for a in data["annotations"]] == [(1, 1), (2, 3)]
    assert [c["name"] for c in data["categories"]][:2] == ["object", "core"]
    assert [m for m in marks if isinstance(m, Tick)] == [Tick("0.png"), Tick("1.png"), Tick("2.png")]


def test_an_image_of_unknown_size_is_left_out_with_a_warning() -> None:
    data, marks = read(make_dataset(json.dumps([square(0, 0, 9)]), size=(None, None)))
    assert data["images"] == data["annotations"] == []
    assert any(isinstance(m, Warn) for m in marks)


def test_real_outlines_agree_with_their_masks() -> None:
    source = Path(__file__).resolve().parents[3] / "shared/data/nuclei/project.json"
    if not source.exists():
        pytest.skip("the real images are not here")
    images = [i for i in json.loads(source.read_text())["images"] if i["segmentation"]][:20]
    for image in images:
        size = image["width"], image["height"]
        annotation = parse_annotation(json.dumps(image["segmentation"]["polygons"]), *size)
        for polygon in annotation.polygons:
            if polygon.points.size < 20:
                continue
            ours = mask_api.decode(
                {"size": [size[1], size[0]], "counts": pack(run_lengths((polygon.points, *polygon.holes), *size))}
            )
            theirs = mask_api.decode(mask_api.merge(mask_api.frPyObjects([polygon.points.ravel().tolist()], size[1], size[0])))
            for hole in polygon.holes:
                theirs &= 1 - mask_api.decode(
                    mask_api.merge(mask_api.frPyObjects([hole.ravel().tolist()], size[1], size[0]))
                )
            # pycocotools paints borders a little wider; small objects feel it most.
            if theirs.sum() > 200:
                assert (ours & theirs).sum() / (ours | theirs).sum() > 0.93


def test_an_empty_project_is_a_valid_file() -> None:
    data, _ = read(MemoryDataset(Project("p", "T", "spheroid", "u"), (), {"x": Annotation()}))
    assert data["images"] == data["annotations"] == []
