"""COCO instance segmentation, as the COCO data format page describes it.

Coordinates are pixels from the top left corner of the top left pixel; areas are px². A polygon list is a union, so an
inner ring would fill a hole: objects with holes are RLE with `iscrowd: 0`. The RLE is COCO's: columns from left to right,
runs that begin with background, packed as the COCO API packs them. A pixel belongs to an object when its centre lies in it
(even-odd rule).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import orjson
from numpy.typing import NDArray

import exportd
from exportd.core import rings as geometry
from exportd.core.dataset import Dataset, Image, Points, Polygon
from exportd.core.options import ExportOptions
from exportd.formats.member import Member, Tick, Warn

PATH = "annotations/coco/annotations.json"

CATEGORIES = ("object", "core", "head", "midpiece", "tail")
"""By id from 1. New ones go to the end: ids never shift."""


def coco(dataset: Dataset, options: ExportOptions) -> Generator[Member, None, None]:  # noqa: ARG001 - an exporter's form
    """`annotations/coco/annotations.json`."""
    yield Member(PATH, _chunks(dataset), "application/json")


def category_id(polygon: Polygon) -> int:
    """The place of the polygon's part class in the table, else that of a plain object."""
    return 1 + CATEGORIES.index(polygon.part_class) if polygon.part_class in CATEGORIES else 1


def _chunks(dataset: Dataset) -> Iterator[bytes | Tick | Warn]:
    info = {"description": dataset.project.title, "version": "1.0", "contributor": f"exportd {exportd.__version__}"}
    categories = [{"id": i, "name": name, "supercategory": "annotation"} for i, name in enumerate(CATEGORIES, start=1)]
    yield b'{"info":' + orjson.dumps(info) + b',\n"licenses":[],\n"categories":' + orjson.dumps(categories)
    yield b',\n"images":['
    yield from _rows(_image(number, image) for number, image in _sized(dataset))
    yield b'],\n"annotations":['
    yield from _annotations(dataset)
    yield b"]}\n"


def _sized(dataset: Dataset) -> Iterator[tuple[int, Image]]:
    return ((n, image) for n, image in enumerate(dataset.images, start=1) if image.width and image.height)


def _image(number: int, image: Image) -> dict[str, object]:
    return {"id": number, "file_name": image.name, "width": image.width, "height": image.height}


def _rows(rows: Iterator[dict[str, object]]) -> Iterator[bytes]:
    first = True
    for row in rows:
        yield (b"\n" if first else b",\n") + orjson.dumps(row)
        first = False


def _annotations(dataset: Dataset) -> Iterator[bytes | Tick | Warn]:
    number, unsized, polylines = 0, 0, 0
    for image_id, (image, annotation) in enumerate(dataset.annotated(), start=1):
        rows = []
        polylines += len(annotation.polylines)
        if image.width and image.height:
            for polygon in annotation.polygons:
                number += 1
                rows.append(_annotation(number, image_id, polygon, image.width, image.height))
        else:
            unsized += 1
        if rows:
            first = number == len(rows)
            yield (b"\n" if first else b",\n") + b",\n".join(map(orjson.dumps, rows))
        yield Tick(image.name)
    if unsized:
        yield Warn(f"COCO: {unsized} images of unknown size were left out.")
    if polylines:
        yield Warn(f"COCO: {polylines} polylines were left out, the format has no lines.")


def _annotation(number: int, image_id: int, polygon: Polygon, width: int, height: int) -> dict[str, object]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id(polygon),
        "segmentation": _segmentation(polygon, width, height),
        "area": round(max(0.0, geometry.area(polygon.points, polygon.holes)), 4),
        "bbox": [round(v, 4) for v in geometry.bounding_box(polygon.points)],
        "iscrowd": 0,
    }


def _segmentation(polygon: Polygon, width: int, height: int) -> object:
    if not polygon.holes:
        ring = polygon.points if len(polygon.points) > 2 else np.vstack((polygon.points, polygon.points[-1:]))
        return [ring.round(4).ravel().tolist()]
    counts = run_lengths((polygon.points, *polygon.holes), width, height)
    return {"size": [height, width], "counts": pack(counts).decode()}


def run_lengths(rings: tuple[Points, ...], width: int, height: int) -> NDArray[np.int64]:
    """Runs of background, foreground, background, ... down the columns, of the pixels whose centres lie in an odd number
    of rings. Even-odd over all rings of one object: its holes are out."""
    crossings = np.concatenate([_crossings(ring, width, height) for ring in rings])
    # Between two crossings of a column's centre line lies the object; as one sequence over all columns, equal places
    # cancel out in pairs, and what is left are the ends of the runs.
    ends, times = np.unique(crossings, return_counts=True)
    ends = ends[times % 2 == 1]
    return np.diff(np.concatenate(([0], ends, [width * height])))


def _crossings(ring: Points, width: int, height: int) -> NDArray[np.int64]:
    """For each crossing of the ring with a column's centre line, the first pixel below it, numbered down the columns."""
    x0, y0 = ring.T
    x1, y1 = np.roll(ring, -1, axis=0).T
    low, high = np.minimum(x0, x1), np.maximum(x0, x1)
    # Column c has its centre at c + 0.5; an edge crosses it when low <= c + 0.5 < high.
    first = np.clip(np.ceil(low - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, width).astype(np.int64)
    counts = last - first
    edge = np.repeat(np.arange(len(ring)), counts)
    column = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (y1[edge] - y0[edge]) / (x1[edge] - x0[edge])
    y = y0[edge] + slope * (column + 0.5 - x0[edge])
    row = np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64)
    return column * height + row


def pack(counts: NDArray[np.int64]) -> bytes:
    """Runs as the COCO API's text: differences to the run before the last, in five bits a character from 48 on."""
    packed = bytearray()
    values = counts.tolist()
    for i, value in enumerate(values):
        rest = value - values[i - 2] if i > 2 else value
        while True:
            bits = rest & 0x1F
            rest >>= 5
            more = rest != (-1 if bits & 0x10 else 0)
            packed.append((bits | 0x20 if more else bits) + 48)
            if not more:
                break
    return bytes(packed)
