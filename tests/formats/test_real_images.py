"""Real outlines through COCO, YOLO and overlays, read back with outside readers."""

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pycocotools import mask as reader
from pycocotools.coco import COCO

from exportd.core.dataset import Image, MemoryDataset, Points, Polygon, Project
from exportd.core.options import ExportOptions, VisualizationOptions
from exportd.core.polygons import parse_annotation
from exportd.formats.coco import coco
from exportd.formats.member import Member
from exportd.formats.overlays import overlay_png
from exportd.formats.rle import compressed, run_lengths
from exportd.formats.yolo import yolo

SOURCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei" / "project.json"
OPTIONS = ExportOptions(annotation_formats=("coco", "yolo"))
Mask = NDArray[np.bool_]
REACH = 6
"""Pixels that an outline may reach beyond its polygon, at a sharp corner."""

pytestmark = pytest.mark.skipif(not SOURCE.exists(), reason="the real images are not here")


@pytest.fixture(scope="module")
def dataset() -> MemoryDataset:
    rows = orjson.loads(SOURCE.read_bytes())["images"]
    images, annotations = [], {}
    for row in rows:
        width, height = row["width"], row["height"]
        images.append(Image(row["id"], f"{row['id']}.png", row["name"], width, height, row["mimeType"], None))
        if row["segmentation"] is not None:
            text = orjson.dumps(row["segmentation"]["polygons"])
            annotations[row["id"]] = parse_annotation(text, width, height)
    return MemoryDataset(Project("p", "Nuclei", "spheroid", "u"), tuple(images), annotations)


def size(image: Image) -> tuple[int, int]:
    assert image.width
    assert image.height
    return image.width, image.height


def ours(points: Points, holes: tuple[Points, ...], image: Image) -> Mask:
    runs = run_lengths(points, holes, *size(image))
    found: Mask = reader.decode({"size": [image.height, image.width], "counts": compressed(runs)}).astype(bool)
    return found


def painted(polygon: Polygon, image: Image) -> Mask:
    """The object as the outside reader paints it: outline minus holes."""
    outline, *holes = (
        reader.decode(reader.frPyObjects([ring.ravel().tolist()], image.height, image.width)).any(axis=2)
        for ring in (polygon.points, *polygon.holes)
    )
    found: Mask = outline & ~np.any(holes, axis=0) if holes else outline
    return found


def test_masks_overlap_with_those_of_the_outside_reader(dataset: MemoryDataset, tmp_path: Path) -> None:
    (member,) = coco(dataset, OPTIONS)
    path = tmp_path / "coco.json"
    path.write_bytes(b"".join(chunk for chunk in member.chunks if isinstance(chunk, bytes)))
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO(str(path))
    rest = iter(found.anns.values())
    overlaps, pixels, area = [], 0, 0.0
    for image, annotation in dataset.annotated():
        for polygon in annotation.polygons:
            row = next(rest)
            assert found.imgs[row["image_id"]]["file_name"] == image.name
            assert row["iscrowd"] == 0
            pixels += int(run_lengths(polygon.points, polygon.holes, *size(image))[1::2].sum())
            area += row["area"]
            if row["area"] >= 100:
                written, expected = found.annToMask(row).astype(bool), painted(polygon, image)
                overlaps.append((written & expected).sum() / (written | expected).sum())
    assert next(rest, None) is None
    assert len(overlaps) > 1000
    assert np.mean(overlaps) >= 0.98
    assert pixels == pytest.approx(area, rel=0.005)


def test_a_label_paints_the_same_pixels_as_the_object_with_its_holes(dataset: MemoryDataset) -> None:
    labels = {
        m.source_image_id: b"".join(c for c in m.chunks if isinstance(c, bytes)).decode().splitlines()
        for m in yolo(dataset, OPTIONS)
        if isinstance(m, Member) and m.source_image_id
    }
    assert labels.keys() == {image.id for image in dataset.images}
    holes = 0
    for image, annotation in dataset.annotated():
        for line, polygon in zip(labels[image.id], annotation.polygons, strict=True):
            if polygon.holes:
                holes += len(polygon.holes)
                ring = np.array(line.split()[1:], np.float64).reshape(-1, 2) * size(image)
                expected = ours(polygon.points, polygon.holes, image)
                # Vertices are on pixel centres here: the last decimal may decide about one.
                assert (ours(ring, (), image) ^ expected).sum() <= 0.03 * expected.sum()
    assert holes == 15


def test_overlays_leave_everything_but_the_objects_as_it_was_and_tint_these(dataset: MemoryDataset) -> None:
    look, looked_at = VisualizationOptions(show_numbers=False), 0
    paths = {row["id"]: SOURCE.parent / row["originalPath"] for row in orjson.loads(SOURCE.read_bytes())["images"]}
    for image, annotation in list(dataset.annotated())[::8]:
        with PillowImage.open(paths[image.id]) as source:
            if source.mode not in ("L", "RGB", "RGBA") or not annotation.polygons:
                continue
            assert np.asarray(source.convert("RGBA"))[..., 3].min() == 255
            before = np.asarray(source.convert("RGB")).astype(int)
            body = b"".join(overlay_png(np.asarray(source), annotation, look, "spheroid", 1 << 20))
        with PillowImage.open(io.BytesIO(body)) as drawn:
            after = np.asarray(drawn).astype(int)
        objects = np.any([painted(polygon, image) for polygon in annotation.polygons], axis=0).astype(np.uint8)
        outline = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
        around = cv2.dilate(objects, outline).astype(bool)
        assert (after[~around] == before[~around]).all(), image.original_name
        inside = cv2.erode(objects, outline).astype(bool)
        redder = (after - before)[inside] @ (2, -1, -1)
        assert (redder > 0).mean() > 0.99, image.original_name
        looked_at += 1
    assert looked_at >= 5
