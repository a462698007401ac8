"""The one table of formats: where each one is, and how many objects it has for each image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple
from xml.parsers import expat

from exportd.verifying.container import READ_BYTES, Contents, lines
from exportd.verifying.findings import Damaged
from exportd.verifying.papers import LONGEST, items
from exportd.verifying.pictures import labels, roi_set

COCO = "annotations/coco/annotations.json"
JSON = "annotations/json/segmentation_data.json"
CVAT = "annotations/cvat/annotations.xml"


class Count(NamedTuple):
    """What a format has for one image: closed objects, not open lines."""

    image: str
    """Its name, or only its stem where the format has a file per image."""
    objects: int
    complete: int | None = None
    """Objects without those flagged as incomplete, where the format tells."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of annotations. `name` is what the report's warnings call it."""

    id: str
    name: str
    place: str
    """Its only member, or its folder, which ends with `/`."""
    read: Callable[[Contents], Iterator[Count]]
    names: bool = False
    """Whether it calls images by their whole name, not by the stem."""
    sparse: bool = False
    """Whether images without objects have no file."""
    exact: bool = False
    """Whether it has every object of every image, so that others can be held against it."""

    def is_in(self, contents: Contents) -> bool:
        return self.place in contents.names or (self.place.endswith("/") and bool(contents.paths(self.place)))


def _coco(contents: Contents) -> Iterator[Count]:
    names: dict[int, str] = {}
    objects: Counter[int] = Counter()
    incomplete: Counter[int] = Counter()
    for key, row in items(contents, COCO, "images", "annotations"):
        match key, row:
            case "images", {"id": int(number), "file_name": str(name)}:
                names[number] = name
            case "annotations", {"image_id": int(number)} if isinstance(row, dict):
                objects[number] += 1
                attributes = row.get("attributes")
                incomplete[number] += isinstance(attributes, dict) and attributes.get("complete") is False
            case (("images" | "annotations"), _):
                raise Damaged(COCO, f"a row of its {key} has no number or name of an image")
    if strangers := objects.keys() - names.keys():
        raise Damaged(COCO, f"annotations are of image {min(strangers)}, which it does not list")
    for number, name in names.items():
        yield Count(name, objects[number], objects[number] - incomplete[number])


def _json(contents: Contents) -> Iterator[Count]:
    for key, row in items(contents, JSON, "images"):
        match key, row:
            case "images", {"name": str(name), "polygons": list(polygons)}:
                yield Count(name, len(polygons), _complete(polygons))
            case "images", _:
                raise Damaged(JSON, "an image has no name or no list of polygons")


def _complete(rows: list[object]) -> int:
    return sum(not (isinstance(row, dict) and row.get("complete") is False) for row in rows)


_YOLO_LINE = re.compile(r"\d+(?: (?:0|1|0\.\d+|1\.0*)){6,}")


def _yolo(contents: Contents) -> Iterator[Count]:
    for path, stem in _files(contents, "labels/", ".txt"):
        count = 0
        with contents.text(path) as text:
            for line in lines(text, path, LONGEST):
                count += 1
                if line.count(" ") % 2 or not _YOLO_LINE.fullmatch(line):
                    raise Damaged(path, f"line {count} is no class with a polygon in 0 to 1")
        yield Count(stem, count)


def _labels(contents: Contents) -> Iterator[Count]:
    for path, stem in _files(contents, "annotations/labels/", ".tif"):
        with contents.spooled(path) as file:
            yield Count(stem, labels(file, path))


def _imagej(contents: Contents) -> Iterator[Count]:
    for path, stem in _files(contents, "annotations/imagej/", "_RoiSet.zip"):
        with contents.spooled(path) as file:
            yield Count(stem, roi_set(file, path))


def _geojson(contents: Contents) -> Iterator[Count]:
    for path, stem in _files(contents, "annotations/geojson/", ".geojson"):
        count = complete = 0
        for key, row in items(contents, path, "features"):
            match key, row:
                case "features", {"geometry": {"type": "Polygon" | "MultiPolygon"}, "properties": properties}:
                    count += 1
                    complete += not (isinstance(properties, dict) and properties.get("complete") is False)
                case "features", {"geometry": {"type": "LineString" | "MultiLineString"}}:
                    pass
                case "features", _:
                    raise Damaged(path, "a feature is neither polygon nor line")
        yield Count(stem, count, complete)


def _labelme(contents: Contents) -> Iterator[Count]:
    """Shapes of one group are the pieces of one object."""
    for path, stem in _files(contents, "annotations/labelme/", ".json"):
        groups: dict[object, bool] = {}
        for key, row in items(contents, path, "shapes"):
            match key, row:
                case "shapes", {"shape_type": "polygon" | "mask"} if isinstance(row, dict):
                    group = row.get("group_id")
                    known = group if isinstance(group, int) else f"shape {len(groups)}"
                    groups[known] = row.get("complete") is not False
                case "shapes", {"shape_type": str()}:
                    pass
                case "shapes", _:
                    raise Damaged(path, "a shape has no type")
        yield Count(stem, len(groups), sum(groups.values()))


def _cvat(contents: Contents) -> Iterator[Count]:
    names: list[str] = []
    objects: list[int] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "image":
            names.append(attributes.get("name", ""))
            objects.append(0)
        elif tag in ("polygon", "mask") and objects:
            objects[-1] += 1

    with contents.binary(CVAT) as member:
        parse_xml(member, CVAT, start)
    yield from map(Count, names, objects)


def parse_xml(file: IO[bytes], path: str, start: Callable[[str, dict[str, str]], None]) -> None:
    """Calls `start` for each element, in one pass. A document type is refused, and entities with it. Raises `Damaged`."""

    def refuse(*_: object) -> None:
        raise Damaged(path, "it declares a document type, which may hide entities")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    try:
        while piece := file.read(READ_BYTES):
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Damaged(path, f"it is no XML: line {error.lineno}, column {error.offset + 1}") from None


def _files(contents: Contents, folder: str, ending: str) -> Iterator[tuple[str, str]]:
    """Members of a folder with their image's stem."""
    for path in contents.paths(folder, ending):
        yield path, path[len(folder) : -len(ending)]


FORMATS: tuple[Format, ...] = (
    Format("json", "JSON", JSON, _json, names=True, exact=True),
    Format("coco", "COCO", COCO, _coco, names=True),
    Format("yolo", "YOLO", "labels/", _yolo),
    Format("labels", "Label images", "annotations/labels/", _labels),
    Format("imagej", "ImageJ ROIs", "annotations/imagej/", _imagej, sparse=True),
    Format("geojson", "GeoJSON", "annotations/geojson/", _geojson),
    Format("cvat", "CVAT", CVAT, _cvat, names=True),
    Format("labelme", "Labelme", "annotations/labelme/", _labelme),
)
