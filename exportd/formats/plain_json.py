"""The project as plain JSON: every image with its polygons and lines, their measures, and statistics.

Coordinates and lengths are pixels, areas px²; with a scale each measure stands a second time in µm or µm². Objects of one
`instanceId` are listed together under `instances`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import orjson

import exportd
from exportd.core import rings as geometry
from exportd.core.dataset import Annotation, Dataset, Image, Points, Polygon, Polyline
from exportd.core.job import wire_time
from exportd.core.options import ExportOptions
from exportd.formats.member import Member, Tick, Warn

PATH = "annotations/json/segmentation_data.json"


@dataclass(slots=True)
class _Totals:
    images: int = 0
    annotated: int = 0
    polygons: int = 0
    holes: int = 0
    polylines: int = 0
    area: float = 0.0


def plain_json(dataset: Dataset, options: ExportOptions) -> Generator[Member, None, None]:
    """`annotations/json/segmentation_data.json`."""
    yield Member(PATH, _chunks(dataset, options.pixel_to_micrometer_scale), "application/json")


def _chunks(dataset: Dataset, scale: float | None) -> Iterator[bytes | Tick | Warn]:
    project = dataset.project
    head = {
        "id": project.id,
        "title": project.title,
        "type": project.type,
        "ownerId": project.owner_id,
    }
    totals = _Totals()
    yield b'{"exportd":' + orjson.dumps(exportd.__version__) + b',\n"project":' + orjson.dumps(head)
    yield b',\n"pixelToMicrometerScale":' + orjson.dumps(scale) + b',\n"images":['
    for image, annotation in dataset.annotated():
        yield (b",\n" if totals.images else b"\n") + orjson.dumps(_image(image, annotation, scale, totals))
        yield Tick(image.name)
    statistics = {
        "images": totals.images,
        "annotatedImages": totals.annotated,
        "polygons": totals.polygons,
        "holes": totals.holes,
        "polylines": totals.polylines,
        "totalArea": round(totals.area, 4),
        "meanArea": round(totals.area / totals.polygons, 4) if totals.polygons else None,
    }
    yield b'],\n"statistics":' + orjson.dumps(statistics) + b"}\n"


def _image(image: Image, annotation: Annotation, scale: float | None, totals: _Totals) -> dict[str, object]:
    polygons = [_polygon(polygon, scale) for polygon in annotation.polygons]
    areas = [geometry.area(p.points, p.holes) for p in annotation.polygons]
    holes = sum(len(p.holes) for p in annotation.polygons)
    totals.images += 1
    totals.annotated += bool(annotation.polygons or annotation.polylines)
    totals.polygons += len(polygons)
    totals.holes += holes
    totals.polylines += len(annotation.polylines)
    totals.area += sum(areas)
    return {
        "id": image.id,
        "name": image.name,
        "originalName": image.original_name,
        "width": image.width,
        "height": image.height,
        "mediaType": image.media_type,
        "createdAt": wire_time(image.created_at),
        "updatedAt": wire_time(image.updated_at),
        "parentVideoId": image.parent_video_id,
        "frameIndex": image.frame_index,
        "segmented": annotation.segmented,
        "model": annotation.model,
        "threshold": annotation.threshold,
        "confidence": annotation.confidence,
        "polygons": polygons,
        "polylines": [_polyline(line, scale) for line in annotation.polylines],
        "instances": _instances(annotation),
        "statistics": {
            "polygons": len(polygons),
            "holes": holes,
            "polylines": len(annotation.polylines),
            "totalArea": round(sum(areas), 4),
            "meanArea": round(sum(areas) / len(areas), 4) if areas else None,
        },
    }


def _polygon(polygon: Polygon, scale: float | None) -> dict[str, object]:
    x, y, width, height = geometry.bounding_box(polygon.points)
    centre = geometry.centroid(polygon.points, polygon.holes)
    area, perimeter = geometry.area(polygon.points, polygon.holes), geometry.perimeter(polygon.points)
    row: dict[str, object] = {
        "id": polygon.id,
        "number": polygon.number,
        "partClass": polygon.part_class,
        "instanceId": polygon.instance_id,
        "confidence": polygon.confidence,
        "complete": polygon.complete,
        "area": round(area, 4),
        "perimeter": round(perimeter, 4),
        "boundingBox": {"x": x, "y": y, "width": width, "height": height},
        "centroid": None if centre is None else {"x": round(centre[0], 4), "y": round(centre[1], 4)},
        "points": _pairs(polygon.points),
        "holes": [{"area": round(geometry.area(hole), 4), "points": _pairs(hole)} for hole in polygon.holes],
    }
    if scale is not None:
        row |= {"areaMicrometers2": area * scale**2, "perimeterMicrometers": perimeter * scale}
    return row


def _polyline(line: Polyline, scale: float | None) -> dict[str, object]:
    length = geometry.length(line.points)
    row: dict[str, object] = {
        "id": line.id,
        "partClass": line.part_class,
        "instanceId": line.instance_id,
        "trackId": line.track_id,
        "name": line.name,
        "confidence": line.confidence,
        "length": round(length, 4),
        "points": _pairs(line.points),
    }
    if scale is not None:
        row["lengthMicrometers"] = length * scale
    return row


def _instances(annotation: Annotation) -> list[dict[str, object]]:
    found: dict[str, dict[str, list[str]]] = {}
    for kind, objects in (("polygons", annotation.polygons), ("polylines", annotation.polylines)):
        for thing in objects:
            if thing.instance_id is not None:
                found.setdefault(thing.instance_id, {"polygons": [], "polylines": []})[kind].append(thing.id)
    return [{"instanceId": name, **members} for name, members in found.items()]


def _pairs(points: Points) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points.tolist()]
