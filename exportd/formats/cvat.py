"""CVAT for images 1.1, by the "XML annotation format" page of CVAT's documentation.

One XML document for all images, streamed. Coordinates are pixels, origin at the top left corner of the top left pixel.
Objects are polygons; one with holes, or that the edge of its image cuts into pieces, is a mask, because a CVAT polygon is
one ring: run lengths of its bounding box row by row, beginning with background, of the same pixels as in COCO. Objects
are cut at the edge of their image, as masks cannot reach beyond it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import orjson

from exportd.core.dataset import Annotation, Dataset, Points, Polygon, Polyline, Project
from exportd.core.job import wire_time
from exportd.core.options import ExportOptions
from exportd.formats.classes import CLASSES, ObjectClass, class_name
from exportd.formats.clipping import cut_region, is_inside, ring_of
from exportd.formats.keyhole import keyhole
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.rle import Window, run_lengths, window
from exportd.formats.streaming import Losses, batches, chunked, size_of
from exportd.formats.text import xml_text

PATH = "annotations/cvat/annotations.xml"

Size = tuple[int, int]
"""Width and height of an image in pixels."""

BREATH = 100
"""Objects between two looks for a cancel."""

_ATTRIBUTES = (
    ("polygon_id", "text", ""),
    ("number", "text", ""),
    ("instance_id", "text", ""),
    ("confidence", "text", ""),
    ("complete", "checkbox", "true"),
)
"""Name, kind of input and default of what each label has. CVAT takes numbers only within limits, so they are text."""


def cvat(dataset: Dataset, options: ExportOptions) -> Generator[Member, None, None]:
    """One member. An image's id is its place in the archive from 0; one of unknown size is left out, as CVAT needs it."""
    del options
    yield Member(PATH, chunked(_document(dataset)), "application/xml")


def _document(dataset: Dataset) -> Iterator[bytes | Tick | Warn]:
    losses = Losses("CVAT")
    yield _head(dataset.project, len(dataset.images)).encode()
    for place, (image, annotation) in enumerate(dataset.annotated()):
        if size := size_of(image):
            yield _image_tag(place, image.name, size).encode()
            yield from _polygons(dataset.project.type, size, annotation, losses)
            yield from _polylines(dataset.project.type, annotation)
            yield b"  </image>\n"
        else:
            losses.sizeless(image)
        yield Tick(image.name)
    yield b"</annotations>\n"
    yield from losses.warnings()


def _head(project: Project, images: int) -> str:
    times = (("created", project.created_at), ("updated", project.updated_at))
    known = "".join(f"      <{key}>{wire_time(time)}</{key}>\n" for key, time in times if time)
    labels = "".join(map(_label, CLASSES))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
        f"      <name>{xml_text(project.title)}</name>\n      <size>{images}</size>\n"
        f"      <mode>annotation</mode>\n      <overlap>0</overlap>\n{known}"
        f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def _label(row: ObjectClass) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*row.colour)
    attributes = "".join(
        f"            <attribute><name>{name}</name><mutable>False</mutable><input_type>{kind}</input_type>"
        f"<default_value>{default}</default_value><values>{default}</values></attribute>\n"
        for name, kind, default in _ATTRIBUTES
    )
    return (
        f"        <label>\n          <name>{row.name}</name>\n          <color>{colour}</color>\n"
        f"          <type>any</type>\n          <attributes>\n{attributes}          </attributes>\n        </label>\n"
    )


def _image_tag(place: int, name: str, size: Size) -> str:
    return f'  <image id="{place}" name="{xml_text(name)}" width="{size[0]}" height="{size[1]}">\n'


def _polygons(project_type: str, size: Size, annotation: Annotation, losses: Losses) -> Iterator[bytes]:
    source = _source(annotation)
    for place, polygon in enumerate(annotation.polygons):
        if not polygon.holes and is_inside(polygon.points, *size):
            tag, shape = "polygon", _points(polygon.points)
        else:
            yield b""  # what has to be cut or painted takes time
            cut = _cut(polygon, size, losses)
            if cut is None:
                continue
            tag, shape = cut
        label = class_name(project_type, polygon.part_class)
        yield _element(tag, label, shape, source, _polygon_attributes(polygon)).encode()
        if place % BREATH == 0:
            yield b""


def _polylines(project_type: str, annotation: Annotation) -> Iterator[bytes]:
    source = _source(annotation)
    for lines in batches(annotation.polylines, BREATH):
        for line in lines:
            label = class_name(project_type, line.part_class)
            yield _element("polyline", label, _points(line.points), source, _common_attributes(line)).encode()
        yield b""


def _source(annotation: Annotation) -> str:
    return "manual" if annotation.model is None else "auto"


def _cut(polygon: Polygon, size: Size, losses: Losses) -> tuple[str, str] | None:
    """Tag and shape of what has holes or reaches beyond the image; None, and counted, if nothing of it is left."""
    if is_inside(polygon.points, *size) and (painted := _painted(polygon, size)):
        return "mask", _mask(painted)
    pieces = cut_region(polygon, *size)
    if not pieces:
        losses.outside += 1
        return None
    if len(pieces) == 1 and not pieces[0].interiors:
        return "polygon", _points(ring_of(pieces[0].exterior))
    if painted := _painted(polygon, size):
        return "mask", _mask(painted)
    # So thin that it holds no pixel's centre: a mask would be empty.
    losses.parted += len(pieces) > 1
    return "polygon", _points(keyhole(pieces[0]))


def _painted(polygon: Polygon, size: Size) -> Window | None:
    return window(run_lengths(polygon.points, polygon.holes, *size), size[1])


def _points(points: Points) -> str:
    return f'points="{orjson.dumps(points, option=orjson.OPT_SERIALIZE_NUMPY).decode()[2:-2].replace("],[", ";")}"'


def _mask(mask: Window) -> str:
    runs = ", ".join(map(str, mask.runs.tolist()))
    return f'rle="{runs}" left="{mask.left}" top="{mask.top}" width="{mask.width}" height="{mask.height}"'


def _element(tag: str, label: str, shape: str, source: str, attributes: dict[str, str]) -> str:
    rows = "".join(
        f'      <attribute name="{key}">{xml_text(value)}</attribute>\n' for key, value in attributes.items()
    )
    return f'    <{tag} label="{label}" source="{source}" occluded="0" {shape} z_order="0">\n{rows}    </{tag}>\n'


def _polygon_attributes(polygon: Polygon) -> dict[str, str]:
    own = {"number": str(polygon.number), "complete": "true" if polygon.complete else "false"}
    return _common_attributes(polygon) | own


def _common_attributes(thing: Polygon | Polyline) -> dict[str, str]:
    """What leads back to the platform, where it is known."""
    found = {
        "polygon_id": thing.id,
        "instance_id": thing.instance_id,
        "confidence": None if thing.confidence is None else repr(thing.confidence),
    }
    return {key: value for key, value in found.items() if value is not None}
