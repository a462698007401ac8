"""The project's polygons as plain JSON: everything that is known of them, and what they measure.

Coordinates are pixels, origin at the top left corner of the top left pixel, as `[x, y]`; areas square pixels, lengths
pixels, by the definitions of SPEC appendix A. With a scale, what ends in `Um` and `Um2` is the same in µm and µm².
Numbers are not rounded. A value that does not exist is null.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
import orjson

from exportd.core.dataset import Annotation, Dataset, Image, Polygon, Polyline
from exportd.core.geometry import (
    Floats,
    Regions,
    Rings,
    boxes,
    lengths,
    perimeters,
    region_areas,
    region_centroids,
    region_perimeters,
)
from exportd.core.job import wire_time
from exportd.core.options import ExportOptions
from exportd.formats.classes import class_name
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.streaming import batches, chunked

PATH = "annotations/json/segmentation_data.json"

FORMAT_VERSION = 1
"""Of the layout of this document."""

BATCH = 250
"""Polygons that become one piece of JSON: some 500 KiB, and a place to look for a cancel."""

JsonObject: TypeAlias = dict[str, object]


def plain_json(dataset: Dataset, options: ExportOptions) -> Generator[Member, None, None]:
    """One member, written in one walk: each image with its objects and their sums, the sums of all at the end."""
    yield Member(PATH, chunked(_document(dataset, options.pixel_to_micrometer_scale)), "application/json")


@dataclass(slots=True)
class Totals:
    """What the objects of one image, or of all, add up to."""

    polygons: int = 0
    holes: int = 0
    polylines: int = 0
    area: float = 0.0
    """Square pixels; objects that overlap count each."""
    length: float = 0.0
    """Pixels, of the polylines."""

    def add(self, other: Totals) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def row(self, scale: float | None) -> JsonObject:
        """As JSON, with the mean area where there is one."""
        row: JsonObject = {"polygons": self.polygons, "holes": self.holes, "polylines": self.polylines}
        mean = self.area / self.polygons if self.polygons else None
        return (
            row
            | _areas("totalArea", self.area, scale)
            | _areas("meanArea", mean, scale)
            | _length("totalLength", self.length, scale)
        )


def _document(dataset: Dataset, scale: float | None) -> Iterator[bytes | Tick | Warn]:
    project, totals = dataset.project, Totals()
    segmented = with_objects = 0
    head = {
        "format": "exportd segmentation data",
        "version": FORMAT_VERSION,
        "project": {
            "id": project.id,
            "title": project.title,
            "type": project.type,
            "createdAt": wire_time(project.created_at),
            "updatedAt": wire_time(project.updated_at),
        },
        "coordinates": "pixels, origin at the top left corner of the top left pixel, x to the right, y down",
        "pixelToMicrometerScale": scale,
    }
    yield orjson.dumps(head)[:-1] + b',"images":['
    separator = b"\n"
    for image, annotation in dataset.annotated():
        yield separator
        totals.add((yield from _image(image, annotation, project.type, scale)))
        yield Tick(image.name)
        separator = b",\n"
        segmented += annotation.segmented
        with_objects += bool(annotation.polygons or annotation.polylines)
    counts = {"images": len(dataset.images), "segmentedImages": segmented, "imagesWithObjects": with_objects}
    yield b'\n],"statistics":' + orjson.dumps(counts | totals.row(scale)) + b"}\n"


def _image(
    image: Image, annotation: Annotation, project_type: str, scale: float | None
) -> Generator[bytes, None, Totals]:
    """One image as JSON in pieces, an empty one after each batch of objects; returns its sums."""
    head: JsonObject = {
        "id": image.id,
        "name": image.name,
        "originalName": image.original_name,
        "width": image.width,
        "height": image.height,
        "displayOrder": image.display_order,
        "parentVideoId": image.parent_video_id,
        "frameIndex": image.frame_index,
        "createdAt": wire_time(image.created_at),
        "updatedAt": wire_time(image.updated_at),
        "segmented": annotation.segmented,
        "model": annotation.model,
        "threshold": annotation.threshold,
        "confidence": annotation.confidence,
    }
    yield _json(head)[:-1] + b',"polygons":['
    areas = [np.empty(0)]
    separator = b""
    for polygons in batches(annotation.polygons, BATCH):
        regions = Regions.of(polygons)
        areas.append(region_areas(regions))
        yield separator + _json(_polygons(polygons, regions, areas[-1], project_type, scale))[1:-1]
        yield b""
        separator = b","
    yield b'],"polylines":['
    separator = b""
    for polylines in batches(annotation.polylines, BATCH):
        yield separator + _json(_polylines(polylines, project_type, scale))[1:-1]
        yield b""
        separator = b","
    sums = Totals(
        polygons=len(annotation.polygons),
        holes=sum(len(polygon.holes) for polygon in annotation.polygons),
        polylines=len(annotation.polylines),
        area=float(np.concatenate(areas).sum()),
        length=float(lengths(Rings.of([line.points for line in annotation.polylines])).sum()),
    )
    statistics = sums.row(scale)
    if image.width and image.height:
        statistics["areaFraction"] = sums.area / (image.width * image.height)
    tail = {"instances": _instances(annotation), "statistics": statistics, "warnings": annotation.warnings}
    yield b"]," + _json(tail)[1:]
    return sums


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _polygons(
    polygons: Sequence[Polygon], regions: Regions, areas: Floats, project_type: str, scale: float | None
) -> list[JsonObject]:
    measured = zip(
        polygons,
        areas.tolist(),
        perimeters(regions.outer).tolist(),
        region_perimeters(regions).tolist(),
        boxes(regions.outer),
        region_centroids(regions),
        strict=True,
    )
    return [
        {
            "id": polygon.id,
            "number": polygon.number,
            "class": class_name(project_type, polygon.part_class),
            "partClass": polygon.part_class,
            "instanceId": polygon.instance_id,
            "confidence": polygon.confidence,
            "complete": polygon.complete,
            "points": polygon.points,
            "holes": polygon.holes,
            **_areas("area", area, scale),
            **_length("perimeter", outline, scale),
            **_length("perimeterWithHoles", all_rings, scale),
            **_box("boundingBox", box, scale),
            **_point("centroid", centroid, scale),
        }
        for polygon, area, outline, all_rings, box, centroid in measured
    ]


def _polylines(lines: Sequence[Polyline], project_type: str, scale: float | None) -> list[JsonObject]:
    measured = lengths(Rings.of([line.points for line in lines])).tolist()
    return [
        {
            "id": line.id,
            "class": class_name(project_type, line.part_class),
            "partClass": line.part_class,
            "instanceId": line.instance_id,
            "trackId": line.track_id,
            "name": line.name,
            "confidence": line.confidence,
            "points": line.points,
            **_length("length", length, scale),
        }
        for line, length in zip(lines, measured, strict=True)
    ]


def _instances(annotation: Annotation) -> list[JsonObject]:
    """Objects that belong together, by their `instanceId`, in the order in which they first occur."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for polygon in annotation.polygons:
        if polygon.instance_id is not None:
            found.setdefault(polygon.instance_id, ([], []))[0].append(polygon.id)
    for line in annotation.polylines:
        if line.instance_id is not None:
            found.setdefault(line.instance_id, ([], []))[1].append(line.id)
    return [{"id": name, "polygons": polygons, "polylines": lines} for name, (polygons, lines) in found.items()]


# --- measures in pixels and, with a scale, in µm ------------------------------------------------------------------------


def _areas(key: str, area: float | None, scale: float | None) -> JsonObject:
    row: JsonObject = {key: area}
    return row if scale is None else row | {f"{key}Um2": None if area is None else area * scale**2}


def _length(key: str, length: float, scale: float | None) -> JsonObject:
    row: JsonObject = {key: length}
    return row if scale is None else row | {f"{key}Um": length * scale}


def _box(key: str, box: Floats, scale: float | None) -> JsonObject:
    row: JsonObject = {key: _named(box)}
    return row if scale is None else row | {f"{key}Um": _named(box * scale)}


def _named(box: Floats) -> JsonObject:
    left, top, right, bottom = box.tolist()
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def _point(key: str, point: Floats, scale: float | None) -> JsonObject:
    row: JsonObject = {key: _coordinates(point)}
    return row if scale is None else row | {f"{key}Um": _coordinates(point * scale)}


def _coordinates(point: Floats) -> JsonObject | None:
    x, y = point.tolist()
    return None if math.isnan(x) else {"x": x, "y": y}
