"""GeoJSON (RFC 7946) as QuPath reads it, by the "GeoJSON" part of QuPath's "Exporting annotations" documentation.

A feature collection per image. Coordinates are pixels, origin at the top left corner of the top left pixel, y down, as in
QuPath, and no longitudes; nothing is cut at the edge of the image. Rings are closed; outlines have a positive and holes a
negative shoelace sum, which is the right-hand rule on the numbers as they stand. Objects are QuPath annotations, not
detections: these can be edited, and trained from, in the program.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeAlias
from uuid import UUID, uuid5

import orjson
import shapely

from exportd.core.dataset import Annotation, Dataset, Image, Points, Polygon, Polyline
from exportd.core.options import ExportOptions
from exportd.formats.classes import CLASSES, class_name
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.regions import regions, stretches
from exportd.formats.streaming import Losses, chunked
from exportd.formats.text import writable

FOLDER = "annotations/geojson/"

JsonObject: TypeAlias = dict[str, object]

NAMESPACE = UUID("6f1d3c52-7a0b-5f4e-9d84-2b1f6f0c9a71")
"""Of the ids of features, which QuPath wants to be UUIDs: the same object has the same id in every export."""

_COLOURS = {row.name: row.colour for row in CLASSES}


def geojson(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:
    """A member per image, also where nothing was found. Open lines are lines; an object in pieces is one feature."""
    del options
    losses = Losses("GeoJSON")
    for image, annotation in dataset.annotated():
        yield Member(
            f"{FOLDER}{image.stem}.geojson",
            chunked(_collection(dataset.project.type, image, annotation, losses)),
            "application/geo+json",
            source_image_id=image.id,
            original_name=image.original_name,
        )
        yield Tick(image.name)
    yield from losses.warnings()


def _collection(project_type: str, image: Image, annotation: Annotation, losses: Losses) -> Iterator[bytes]:
    yield b'{"type":"FeatureCollection","features":['
    separator = b"\n"
    for row in _features(project_type, image, annotation):
        if row is None:
            losses.covered += 1
        else:
            yield separator + orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
            separator = b",\n"
        yield b""
    yield b"\n]}\n"


def _features(project_type: str, image: Image, annotation: Annotation) -> Iterator[JsonObject | None]:
    """A feature per object; None for one of which its holes leave nothing."""
    for polygons in stretches(annotation.polygons):
        for polygon, parts in zip(polygons, regions(polygons), strict=True):
            yield _polygon(project_type, image, polygon, parts) if parts else None
    for number, line in enumerate(annotation.polylines, start=1):
        yield _polyline(project_type, image, number, line)


def _polygon(project_type: str, image: Image, polygon: Polygon, parts: list[shapely.Polygon]) -> JsonObject:
    rings = [_rings(part) for part in shapely.orient_polygons(parts)]
    geometry: JsonObject = (
        {"type": "Polygon", "coordinates": rings[0]}
        if len(rings) == 1
        else {"type": "MultiPolygon", "coordinates": rings}
    )
    own = {"number": polygon.number, "complete": polygon.complete}
    return _feature(image, f"polygon/{polygon.number}", geometry, _properties(project_type, polygon) | own)


def _polyline(project_type: str, image: Image, number: int, line: Polyline) -> JsonObject:
    own = {"trackId": _known(line.track_id)} if line.track_id is not None else {}
    geometry: JsonObject = {"type": "LineString", "coordinates": line.points}
    return _feature(image, f"polyline/{number}", geometry, _properties(project_type, line) | own)


def _rings(part: shapely.Polygon) -> list[Points]:
    return [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]


def _feature(image: Image, place: str, geometry: JsonObject, properties: JsonObject) -> JsonObject:
    """`place` tells the object apart from all others of the image; ids of the platform may be there twice."""
    polygon_id = properties["polygonId"]
    identity = uuid5(NAMESPACE, f"{writable(image.id)}/{place}/{polygon_id}")
    return {"type": "Feature", "id": str(identity), "geometry": geometry, "properties": properties}


def _properties(project_type: str, thing: Polygon | Polyline) -> JsonObject:
    """Those that QuPath reads, then ours. QuPath stops at a null among its own, so what is unknown is not there."""
    name = class_name(project_type, thing.part_class)
    title = str(thing.number) if isinstance(thing, Polygon) else thing.name
    found: JsonObject = {
        "objectType": "annotation",
        "classification": {"name": name, "color": _COLOURS[name]},
        "name": _known(title),
        "measurements": None if thing.confidence is None else {"confidence": thing.confidence},
        "polygonId": writable(thing.id),
        "instanceId": _known(thing.instance_id),
        "partClass": thing.part_class,
        "confidence": thing.confidence,
    }
    return {key: value for key, value in found.items() if value is not None}


def _known(text: str | None) -> str | None:
    return None if text is None else writable(text)
