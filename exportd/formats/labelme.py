"""Labelme's JSON, a file per image, by what its own loader reads.

Coordinates are pixels, origin at the top left corner of the top left pixel; nothing is cut at the edge of the image. A
shape is one ring: holes are joined to the outline by a cut of no width. The other way, a shape of type `mask`, is pixels
that older versions and most converters cannot read and nobody can edit. What holes leave in pieces is a shape each, with
the same `group_id`, which is how labelme says that shapes are one object.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias

import orjson

from exportd.core.dataset import Annotation, Dataset, Image, Points, Polygon, Polyline
from exportd.core.options import ExportOptions
from exportd.formats.classes import class_name
from exportd.formats.keyhole import keyhole
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.regions import regions, stretches
from exportd.formats.streaming import Losses, chunked
from exportd.formats.text import writable

FOLDER = "annotations/labelme/"

IMAGES = "../../images/"
"""From a file of this folder; labelme looks there for the image when it opens the file."""

VERSION = "5.5.0"
"""Of labelme, whose form this is."""

JsonObject: TypeAlias = dict[str, object]


def labelme(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:
    """A member per image, also where nothing was found. An image of unknown size is no loss: labelme measures it."""
    del options
    losses = Losses("Labelme")
    for image, annotation in dataset.annotated():
        yield Member(
            f"{FOLDER}{image.stem}.json",
            chunked(_file(dataset.project.type, image, annotation, losses)),
            "application/json",
            source_image_id=image.id,
            original_name=image.original_name,
        )
        yield Tick(image.name)
    yield from losses.warnings()


def _file(project_type: str, image: Image, annotation: Annotation, losses: Losses) -> Iterator[bytes]:
    yield orjson.dumps({"version": VERSION, "flags": {}})[:-1] + b',"shapes":['
    separator = b"\n"
    for rows in _shapes(project_type, annotation):
        losses.covered += not rows
        for row in rows:
            yield separator + orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
            separator = b",\n"
        yield b""
    about = {
        "imagePath": IMAGES + image.name,
        "imageData": None,
        "imageHeight": image.height or None,
        "imageWidth": image.width or None,
    }
    yield b"\n]," + orjson.dumps(about)[1:] + b"\n"


def _shapes(project_type: str, annotation: Annotation) -> Iterator[list[JsonObject]]:
    """The shapes of each object; none for one of which its holes leave nothing."""
    for polygons in stretches(annotation.polygons):
        for polygon, rings in zip(polygons, _rings(polygons), strict=True):
            yield [_polygon(project_type, polygon, ring) for ring in rings]
    for line in annotation.polylines:
        yield [_polyline(project_type, line)]


def _rings(polygons: Sequence[Polygon]) -> Iterator[list[Points]]:
    """Each polygon as rings. One without holes stays as it is, also if it crosses itself: labelme fills by even-odd."""
    parts = regions([polygon for polygon in polygons if polygon.holes])
    for polygon in polygons:
        yield [keyhole(part) for part in next(parts)] if polygon.holes else [polygon.points]


def _polygon(project_type: str, polygon: Polygon, ring: Points) -> JsonObject:
    own = {"number": polygon.number, "complete": polygon.complete}
    return _shape(project_type, polygon, "polygon", ring, polygon.number, "") | own


def _polyline(project_type: str, line: Polyline) -> JsonObject:
    own = {} if line.track_id is None else {"trackId": writable(line.track_id)}
    return _shape(project_type, line, "linestrip", line.points, None, writable(line.name or "")) | own


def _shape(
    project_type: str, thing: Polygon | Polyline, kind: str, points: Points, group: int | None, description: str
) -> JsonObject:
    """What labelme knows of a shape, then what is ours: it keeps keys that are not its own."""
    instance = thing.instance_id
    return {
        "label": class_name(project_type, thing.part_class),
        "points": points,
        "group_id": group,
        "description": description,
        "shape_type": kind,
        "flags": {},
        "polygonId": writable(thing.id),
        "instanceId": None if instance is None else writable(instance),
        "confidence": thing.confidence,
    }
