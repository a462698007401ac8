"""COCO instance segmentation, by the "COCO data format" page, section "Object Detection".

One JSON document, streamed. Coordinates are pixels, origin at the top left corner of the top left pixel; areas square
pixels. An object without holes is a list of polygons; one with holes is a compressed RLE, because a polygon list is a
union and an inner ring would fill the hole. `iscrowd` is always 0: 1 would mean "ignore this region". Objects are cut at
the edge of their image; `area` and `bbox` are those of the polygon that is left, not of its pixels.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import orjson
import shapely

from exportd.core.dataset import Annotation, Dataset, Points, Polygon
from exportd.core.geometry import Regions, Rings, boxes, region_areas
from exportd.core.options import ExportOptions
from exportd.formats.classes import CLASSES, class_index
from exportd.formats.clipping import cut_region, cut_ring, is_inside, is_simple, ring_of
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.rle import compressed, run_lengths
from exportd.formats.streaming import Losses, batches, chunked, size_of

PATH = "annotations/coco/annotations.json"

JsonObject: TypeAlias = dict[str, object]
Size: TypeAlias = tuple[int, int]
"""Width and height of an image in pixels."""

BATCH = 250
"""Polygons that become one piece of JSON: some 100 KiB, and a place to look for a cancel."""


def coco(dataset: Dataset, options: ExportOptions) -> Generator[Member, None, None]:
    """One member. Its images are listed first, without a look at their polygons, and ticked as these are written.

    An image's id is its place in the archive, an annotation's the place of its polygon among all of the archive, from 1:
    what is left out leaves a gap, so that ids depend on nothing but project and selection. Images of unknown size are
    left out, as COCO needs one.
    """
    del options
    yield Member(PATH, chunked(_document(dataset)), "application/json")


def _document(dataset: Dataset) -> Iterator[bytes | Tick | Warn]:
    losses = Losses("COCO")
    yield _head(dataset)
    separator = b"\n"
    for number, image in enumerate(dataset.images, start=1):
        if (size := size_of(image)) is None:
            losses.sizeless(image)
            continue
        width, height = size
        yield separator + orjson.dumps({"id": number, "file_name": image.name, "width": width, "height": height})
        separator = b",\n"
    yield b'\n],"annotations":['
    separator, seen = b"\n", 0
    for number, (image, annotation) in enumerate(dataset.annotated(), start=1):
        if size := size_of(image):
            for rows in _annotations(dataset.project.type, number, seen, size, annotation, losses):
                if rows:
                    yield separator + orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
                    separator = b",\n"
                yield b""
        seen += len(annotation.polygons)
        yield Tick(image.name)
    yield b"\n]}\n"
    yield from losses.warnings()


def _head(dataset: Dataset) -> bytes:
    info = {"description": dataset.project.title, "version": "1.0", "contributor": "exportd"}
    categories = [
        {"id": index, "name": row.name, "supercategory": row.supercategory}
        for index, row in enumerate(CLASSES, start=1)
    ]
    head = orjson.dumps({"info": info, "licenses": [], "categories": categories})
    return head[:-1] + b',"images":['


def _annotations(
    project_type: str, image_id: int, seen: int, size: Size, annotation: Annotation, losses: Losses
) -> Iterator[list[JsonObject]]:
    """Rows of one image, in batches; `seen` polygons came before it in the archive.

    An empty batch is a place to look for a cancel: what is cut or has holes takes a hundred times as long as what is not.
    """
    losses.lines += len(annotation.polylines)
    for polygons in batches(annotation.polygons, BATCH):
        rows: list[JsonObject] = []
        for polygon, shape in zip(polygons, _shapes(polygons, size), strict=True):
            if polygon.holes or not is_inside(polygon.points, *size):
                yield []
            if shape is None:
                losses.outside += 1
                continue
            ids = {
                "id": seen + polygon.number,
                "image_id": image_id,
                "category_id": class_index(project_type, polygon) + 1,
            }
            rows.append({**ids, **shape, "iscrowd": 0, "attributes": _attributes(polygon)})
        yield rows


def _shapes(polygons: Sequence[Polygon], size: Size) -> Iterator[JsonObject | None]:
    """Segmentation, area and box of each polygon as far as it is in the image; None if nothing of it is."""
    areas = region_areas(Regions.of(polygons)).tolist()
    extents = boxes(Rings.of([polygon.points for polygon in polygons]))
    for polygon, area, extent in zip(polygons, areas, extents, strict=True):
        if not is_inside(extent.reshape(2, 2), *size):
            yield _cut(polygon, size)
        elif polygon.holes:
            yield _shape(_rle(polygon, size), area, extent)
        else:
            yield _shape([polygon.points.ravel()], area, extent)


def _cut(polygon: Polygon, size: Size) -> JsonObject | None:
    pieces = cut_region(polygon, *size)
    if not pieces:
        return None
    extent = shapely.total_bounds(cut_ring(polygon.points, *size))
    area = float(sum(piece.area for piece in pieces))
    if polygon.holes or not is_simple(polygon.points):
        return _shape(_rle(polygon, size), area, extent)
    return _shape([ring_of(piece.exterior).ravel() for piece in pieces], area, extent)


def _shape(segmentation: object, area: float, extent: Points) -> JsonObject:
    bbox = np.concatenate([extent[:2], extent[2:] - extent[:2]])
    return {"segmentation": segmentation, "area": area, "bbox": bbox}


def _rle(polygon: Polygon, size: Size) -> JsonObject:
    width, height = size
    runs = run_lengths(polygon.points, polygon.holes, width, height)
    return {"size": [height, width], "counts": compressed(runs)}


def _attributes(polygon: Polygon) -> JsonObject:
    """What leads back to the platform; keys without a value are left out."""
    found: Sequence[tuple[str, object]] = (
        ("polygon_id", polygon.id),
        ("number", polygon.number),
        ("instance_id", polygon.instance_id),
        ("confidence", polygon.confidence),
        ("complete", None if polygon.complete else False),
    )
    return {key: value for key, value in found if value is not None}
