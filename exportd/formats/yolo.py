"""YOLO segmentation: a text file per image beside `images/`, where its loaders look for it.

A line is `class x1 y1 x2 y2 ...`, coordinates as parts of the image's width and height, 0 to 1. The format has one ring to
an object: what reaches beyond the image is clipped to it, and holes are bridged to the outline, so that they stay open.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import shapely

from exportd.core.dataset import Dataset, Image, Points, Polygon
from exportd.core.options import ExportOptions
from exportd.formats.coco import CATEGORIES, category_id
from exportd.formats.member import Member, Tick, Warn

DECIMALS = 6
"""A millionth of the image: finer than any pixel grid."""

_TEXT = "text/plain; charset=utf-8"
_DATA = "path: .\ntrain: images\nval: images\nnames:\n"


def yolo(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:  # noqa: ARG001
    """`labels/<stem>.txt` for every image, an empty one where there is no object; `data.yaml`, `classes.txt`."""
    unsized = lost = polylines = 0
    for image, annotation in dataset.annotated():
        polylines += len(annotation.polylines)
        lines: list[str] = []
        if image.width and image.height:
            lines = [line for p in annotation.polygons if (line := label_line(p, image.width, image.height))]
            lost += len(annotation.polygons) - len(lines)
        else:
            unsized += bool(annotation.polygons)
        yield _labels(image, lines)
        yield Tick(image.name)
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CATEGORIES))
    yield Member("data.yaml", [(_DATA + names).encode()], "application/yaml")
    yield Member("classes.txt", ["".join(f"{name}\n" for name in CATEGORIES).encode()], _TEXT)
    if unsized:
        yield Warn(f"YOLO: {unsized} images of unknown size have no labels, their coordinates cannot be scaled.")
    if lost:
        yield Warn(f"YOLO: {lost} objects without any area inside their image were left out.")
    if polylines:
        yield Warn(f"YOLO: {polylines} polylines were left out, the format has no lines.")


def _labels(image: Image, lines: list[str]) -> Member:
    body = "".join(f"{line}\n" for line in lines).encode()
    return Member(f"labels/{image.stem}.txt", [body], _TEXT, source_image_id=image.id)


def label_line(polygon: Polygon, width: int, height: int) -> str | None:
    """One object's line, or None where nothing of it lies in the image."""
    ring = _single_ring(polygon, width, height)
    if ring is None:
        return None
    values = np.clip(ring / (width, height), 0, 1).round(DECIMALS).ravel().tolist()
    return f"{category_id(polygon) - 1} " + " ".join(f"{v:.{DECIMALS}f}".rstrip("0").rstrip(".") for v in values)


def _single_ring(polygon: Polygon, width: int, height: int) -> Points | None:
    inside = _within(polygon.points, width, height)
    if inside and not polygon.holes:
        return polygon.points
    clipped = _clipped(polygon, width, height)
    if clipped is None:
        return None
    outline = shapely.get_coordinates(clipped.exterior)[:-1]
    for hole in sorted(clipped.interiors, key=lambda ring: ring.bounds):
        outline = _bridged(outline, shapely.get_coordinates(hole)[:-1])
    return outline


def _within(points: Points, width: int, height: int) -> bool:
    return bool((points >= 0).all() and (points[:, 0] <= width).all() and (points[:, 1] <= height).all())


def _clipped(polygon: Polygon, width: int, height: int) -> shapely.Polygon | None:
    """The largest piece of the object that lies in the image."""
    shape = shapely.make_valid(shapely.polygons(polygon.points))
    for hole in polygon.holes:
        shape = shapely.difference(shape, shapely.make_valid(shapely.polygons(hole)))
    shape = shapely.intersection(shape, shapely.box(0, 0, width, height))
    pieces = [part for part in _parts(shape) if isinstance(part, shapely.Polygon) and part.area > 0]
    return max(pieces, key=lambda part: part.area, default=None)


def _parts(shape: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """Of a collection, however deep."""
    for part in shapely.get_parts(shape):
        if shapely.get_num_geometries(part) > 1:
            yield from _parts(part)
        else:
            yield part


def _bridged(outline: Points, hole: Points) -> Points:
    """One ring that runs to the hole, around it, and back where it came from: between the two nearest corners."""
    distance = ((outline[:, None, :] - hole[None, :, :]) ** 2).sum(axis=2)
    at, to = divmod(int(distance.argmin()), len(hole))
    around = np.roll(hole, -to, axis=0)
    return np.vstack((outline[: at + 1], around, around[:1], outline[at:]))
