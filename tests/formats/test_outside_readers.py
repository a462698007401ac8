"""One small project as unzipped, through other people's loaders: the formats agree with each other, object by object.

Readers: pycocotools 2.0.11, supervision 0.31.2 (COCO, YOLO), datumaro 1.13.12 (COCO, CVAT; its YOLO reader takes boxes
only), shapely 2.2.0 (GeoJSON).
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely
from exporting import export, objects
from numpy.typing import NDArray
from PIL import Image as Pillow
from pycocotools.coco import COCO

from exportd.core.dataset import Annotation, Image, MemoryDataset, Points, Polygon, Project
from exportd.core.polygons import parse_annotation
from exportd.formats.coco import PATH as COCO_PATH
from exportd.formats.coco import coco
from exportd.formats.cvat import PATH as CVAT_PATH
from exportd.formats.cvat import cvat
from exportd.formats.geojson import geojson
from exportd.formats.labelme import labelme
from exportd.formats.rle import run_lengths
from exportd.formats.yolo import yolo

NUCLEI = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei" / "project.json"

SMALL = 100
"""Pixels below which one pixel of the outline says too much."""

PAINTED = 1000
"""The same for readers that paint the outline too."""

ROUNDED = 2500
"""The same for supervision's YOLO, which also rounds vertices to whole pixels before."""

Mask = NDArray[np.bool_]


def blob(x: float, y: float, radius: float, lobes: int = 5) -> Points:
    turns = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    radii = radius * (1 + 0.2 * np.sin(lobes * turns))
    return np.column_stack((x + radii * np.cos(turns), y + radii * np.sin(turns)))


def drawn() -> list[tuple[tuple[int, int], Annotation]]:
    hollow = Polygon("hollow", 1, blob(80, 70, 50), (blob(80, 70, 20, 3), blob(50, 70, 5, 2)))
    edge = Polygon("edge", 2, blob(195, 75, 30), (), "core")
    hollow_edge = Polygon("hollow-edge", 3, blob(150, 145, 30), (blob(150, 145, 12),))
    plain = tuple(Polygon(f"p{n}", n, blob(30 * n, 40, 12, n + 2)) for n in range(1, 5))
    large = Polygon("large", 1, blob(150, 150, 110), (blob(150, 150, 40, 3), blob(90, 180, 12)))
    cut = Polygon("cut", 2, blob(370, 120, 90, 3), (blob(360, 120, 30),))
    return [
        ((400, 300), objects(large, cut)),
        ((200, 150), objects(hollow, edge, hollow_edge)),
        ((160, 90), objects()),
        ((150, 80), objects(*plain)),
    ]


def nuclei() -> list[tuple[tuple[int, int], Annotation]]:
    if not NUCLEI.exists():
        return []
    rows = [row for row in orjson.loads(NUCLEI.read_bytes())["images"] if row["segmentation"]]
    hollow = [row for row in rows if any(p["type"] == "internal" for p in row["segmentation"]["polygons"])]
    found = []
    for row in [*rows[:4], *hollow[:2]]:
        size = row["width"], row["height"]
        found.append((size, parse_annotation(orjson.dumps(row["segmentation"]["polygons"]), *size)))
    return [each for each in found if max(each[0]) <= 1000]


@dataclass(frozen=True)
class Unzipped:
    root: Path
    dataset: MemoryDataset

    def annotated(self) -> Iterator[tuple[Image, Annotation]]:
        return self.dataset.annotated()

    def masks(self, image: Image, annotation: Annotation) -> list[Mask]:
        """By the pixel-centre rule."""
        width, height = image.width or 0, image.height or 0
        return [raster(polygon.points, polygon.holes, width, height) for polygon in annotation.polygons]


def raster(points: Points, holes: tuple[Points, ...], width: int, height: int) -> Mask:
    runs = run_lengths(points, holes, width, height)
    return np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T.astype(bool)


def overlap(one: Mask, two: Mask) -> float:
    return float((one & two).sum() / max(1, (one | two).sum()))


def painted(detections: Any) -> list[Mask]:
    """Supervision's masks; it has none at all for an image without objects."""
    return [np.asarray(mask, bool) for mask in detections.mask] if len(detections) else []


@pytest.fixture(scope="module")
def unzipped(tmp_path_factory: pytest.TempPathFactory) -> Unzipped:
    root = tmp_path_factory.mktemp("archive")
    (root / "images").mkdir()
    images, annotations = [], {}
    for n, (size, annotation) in enumerate([*drawn(), *nuclei()]):
        image = Image(f"i{n}", f"image {n}.png", f"{n}.png", *size, "image/png", 1)
        Pillow.new("L", size, n).save(root / "images" / image.name)
        images.append(image)
        annotations[image.id] = annotation
    dataset = MemoryDataset(Project("p", "Cells & more", "spheroid", "u"), tuple(images), annotations)
    for exporter in (coco, yolo, geojson, cvat, labelme):
        for path, body in export(exporter, dataset).members.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(body)
    # CVAT's own archives have the images in a folder beside the document.
    (root / "annotations" / "cvat" / "images").symlink_to(root / "images")
    return Unzipped(root, dataset)


@pytest.fixture(scope="module")
def reference(unzipped: Unzipped) -> dict[str, list[Mask]]:
    """Masks of each image as pycocotools makes them of the COCO file, in the order of the objects."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO(str(unzipped.root / COCO_PATH))
    return {
        row["file_name"]: [found.annToMask(a).astype(bool) for a in found.imgToAnns[number]]
        for number, row in found.imgs.items()
    }


def test_every_format_has_every_object(unzipped: Unzipped, reference: dict[str, list[Mask]]) -> None:
    for image, annotation in unzipped.annotated():
        folder = unzipped.root / "annotations"
        features = orjson.loads((folder / "geojson" / f"{image.stem}.geojson").read_bytes())["features"]
        shapes = orjson.loads((folder / "labelme" / f"{image.stem}.json").read_bytes())["shapes"]
        lines = (unzipped.root / "labels" / f"{image.stem}.txt").read_text().splitlines()
        counts = {len(reference[image.name]), len(features), len({s["group_id"] for s in shapes}), len(lines)}
        assert counts == {len(annotation.polygons)}


def test_pixels_of_coco_are_those_of_the_polygons(unzipped: Unzipped, reference: dict[str, list[Mask]]) -> None:
    for image, annotation in unzipped.annotated():
        for ours, theirs in zip(unzipped.masks(image, annotation), reference[image.name], strict=True):
            if ours.sum() >= PAINTED:  # pycocotools paints outlines of polygons half a pixel wider
                assert overlap(ours, theirs) >= 0.95


def test_geojson_covers_the_same_pixels(unzipped: Unzipped) -> None:
    for image, annotation in unzipped.annotated():
        path = unzipped.root / "annotations" / "geojson" / f"{image.stem}.geojson"
        features = orjson.loads(path.read_bytes())["features"]
        for ours, feature in zip(unzipped.masks(image, annotation), features, strict=True):
            shape = shapely.from_geojson(orjson.dumps(feature["geometry"]))
            rows, columns = np.mgrid[: ours.shape[0], : ours.shape[1]]
            # A centre on an outline, as those of the nuclei are, belongs to what lies below, else right of it.
            theirs = shapely.contains_xy(shape, columns + (0.5 + 1e-9), rows + (0.5 + 1e-6))
            if ours.sum() >= SMALL:
                assert overlap(ours, theirs) >= 0.98


def test_datumaro_reads_cvat_with_the_same_masks_as_coco(unzipped: Unzipped, reference: dict[str, list[Mask]]) -> None:
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    items = {str(item.id): item for item in Dataset.import_from(str((unzipped.root / CVAT_PATH).parent), "cvat")}
    kinds = set()
    for image, annotation in unzipped.annotated():
        found: list[Any] = items[image.stem].annotations
        assert [int(each.attributes["number"]) for each in found] == [p.number for p in annotation.polygons]
        ours = unzipped.masks(image, annotation)
        for each, expected, theirs in zip(found, ours, reference[image.name], strict=True):
            kinds.add(each.type)
            if each.type == AnnotationType.mask:
                found_mask = np.asarray(each.image, bool)
                assert (found_mask == expected).all()
            else:
                found_mask = raster(np.array(each.points).reshape(-1, 2), (), image.width or 0, image.height or 0)
                assert overlap(found_mask, expected) >= 0.98 or expected.sum() < SMALL
            if expected.sum() >= PAINTED:
                assert overlap(found_mask, theirs) >= 0.95
    assert kinds == {AnnotationType.mask, AnnotationType.polygon}


def test_datumaro_reads_coco_with_every_object(unzipped: Unzipped, tmp_path: Path) -> None:
    from datumaro.components.dataset import Dataset

    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").symlink_to(unzipped.root / "images")
    (tmp_path / "annotations" / "instances_default.json").write_bytes((unzipped.root / COCO_PATH).read_bytes())
    items = {str(item.id): item for item in Dataset.import_from(str(tmp_path), "coco_instances")}
    for image, annotation in unzipped.annotated():
        found = {each.attributes["polygon_id"] for each in items[image.stem].annotations}
        assert found == {polygon.id for polygon in annotation.polygons}


def test_supervision_reads_coco_with_the_same_masks(unzipped: Unzipped, reference: dict[str, list[Mask]]) -> None:
    from supervision import DetectionDataset

    found = DetectionDataset.from_coco(str(unzipped.root / "images"), str(unzipped.root / COCO_PATH), force_masks=True)
    for path, _, detections in found:
        masks = reference[Path(path).name]
        assert len(detections) == len(masks)
        for one, two in zip(painted(detections), masks, strict=True):
            if two.sum() >= PAINTED:
                assert overlap(one, two) >= 0.95


def test_supervision_reads_yolo_with_the_same_masks(unzipped: Unzipped) -> None:
    from supervision import DetectionDataset

    root = unzipped.root
    found = DetectionDataset.from_yolo(
        str(root / "images"), str(root / "labels"), str(root / "data.yaml"), force_masks=True
    )
    by_name = {Path(path).name: detections for path, _, detections in found}
    assert by_name.keys() == {image.name for image in unzipped.dataset.images}
    compared = 0
    for image, annotation in unzipped.annotated():
        detections, ours = by_name[image.name], unzipped.masks(image, annotation)
        assert len(detections) == len(ours)
        for one, two in zip(painted(detections), ours, strict=True):
            if two.sum() >= ROUNDED:
                compared += 1
                assert overlap(one, two) >= 0.95
    assert compared >= 3
