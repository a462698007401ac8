"""The archive as a data set for the loaders of machine learning, by the Croissant format specification, version 1.1.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. One JSON-LD document at the root of the archive; paths
in it are relative to where the archive was unpacked. Files that stand alone are `FileObject`s with their SHA-256; files
of which there is one per image are `FileSet`s by a pattern, so the document does not grow with the project. Coordinates
and areas are those of the files that it points into: pixels and square pixels, metrics in the unit of their header.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import orjson

from exportd.core.dataset import Dataset, Project
from exportd.formats.coco import PATH as COCO_PATH
from exportd.formats.member import Member
from exportd.formats.plain_json import PATH as JSON_PATH
from exportd.formats.tabular import Kind, Table
from exportd.formats.zipping import Entry

PATH = "croissant.json"

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"

CSV_FOLDER = "metrics/"

FOLDERS: tuple[tuple[str, str, str], ...] = (
    ("images/", "image-files", "The original images, bit for bit."),
    ("visualizations/", "visualizations", "Images with their objects drawn over them."),
    ("labels/", "yolo-labels", "YOLO segmentation labels, a text file per image."),
    ("annotations/labels/", "label-images", "A number per pixel: that of the object, 0 for background."),
    ("annotations/imagej/", "imagej-rois", "A set of ImageJ regions per image."),
    ("annotations/geojson/", "geojson", "A GeoJSON feature collection per image."),
    ("annotations/labelme/", "labelme", "A Labelme file per image."),
)
"""Folders with a file per image: prefix, id and what they hold. All other members stand alone."""

PICTURES = frozenset({"image/png", "image/jpeg"})
"""What loaders decode without more ado."""

JsonObject: TypeAlias = dict[str, Any]


def croissant(dataset: Dataset, entries: Iterable[Entry], tables: Sequence[Table] = ()) -> Member:
    """`croissant.json` for the members that are written by now; `tables` are those of the metrics, if there are any."""
    return Member(PATH, [_document(dataset, entries, tables)], "application/ld+json")


def _document(dataset: Dataset, entries: Iterable[Entry], tables: Sequence[Table]) -> bytes:
    project, change = dataset.project, dataset.notes.newest_change
    alone = {entry.path: entry for entry in entries if _folder(entry.path) is None}
    sets = _Sets(entries)
    document: JsonObject = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": _title(project),
        "description": _description(project, len(dataset.images)),
        "license": "Not stated: ask the owner of the project before you use or publish it.",
        "creator": {"@type": "sc:Organization", "name": "The owner of the project, who is not named in this archive"},
        "citeAs": "Not stated: ask the owner of the project.",
        "version": "1.0.0",
    }
    if change is not None:
        document |= {"datePublished": change.date().isoformat(), "dateModified": change.date().isoformat()}
    document["distribution"] = [*map(_file_object, alone.values()), *sets.rows()]
    if COCO_PATH in alone:  # a reader takes the fields of one record set from one resource
        document["distribution"].append(_file_object(alone[COCO_PATH]) | {"@id": COCO_IMAGES})
    document["recordSet"] = list(_record_sets(alone, sets, tables))
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _title(project: Project) -> str:
    return " ".join(project.title.split()) or "Untitled project"


def _description(project: Project, images: int) -> str:
    kind = " ".join(project.type.split()) or "unknown"
    return (
        f"{images} image{'s' if images != 1 else ''} of a project of type {kind} with the outlines of the objects in "
        "them, exported by exportd. The project itself has no description."
    )


# --- resources ----------------------------------------------------------------------------------------------------------


def _folder(path: str) -> tuple[str, str, str] | None:
    return next((row for row in FOLDERS if path.startswith(row[0])), None)


def _file_object(entry: Entry) -> JsonObject:
    return {
        "@type": "cr:FileObject",
        "@id": entry.path,
        "name": entry.path.rpartition("/")[2],
        "contentUrl": entry.path,
        "contentSize": f"{entry.size} B",
        "encodingFormat": _plain_type(entry),
        "sha256": entry.sha256,
    }


def _plain_type(entry: Entry) -> str:
    """Without parameters: readers compare the whole text."""
    if entry.path.endswith(".parquet"):
        return "application/x-parquet"  # what readers of Croissant call it
    return entry.media_type.partition(";")[0]


class _Sets:
    """The folders with a file per image, and the media types in each."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._kinds: dict[str, Counter[tuple[str, str]]] = {}
        for entry in entries:
            if (row := _folder(entry.path)) is not None:
                ending = entry.path.rpartition("/")[2].rpartition(".")[2]
                self._kinds.setdefault(row[0], Counter())[ending, _plain_type(entry)] += 1

    def types(self, prefix: str) -> set[str]:
        return {media_type for _, media_type in self._kinds.get(prefix, ())}

    def rows(self) -> Iterator[JsonObject]:
        for prefix, name, what in FOLDERS:
            if kinds := self._kinds.get(prefix):
                yield {
                    "@type": "cr:FileSet",
                    "@id": name,
                    "name": name,
                    "description": f"{what} Files: {sum(kinds.values())}.",
                    "encodingFormat": _one_or_many(sorted({media_type for _, media_type in kinds})),
                    "includes": _one_or_many(sorted({f"{prefix}*.{ending}" for ending, _ in kinds})),
                }


def _one_or_many(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


# --- records ------------------------------------------------------------------------------------------------------------

COCO_IMAGES = f"{COCO_PATH}#images"


def _record_sets(alone: dict[str, Entry], sets: _Sets, tables: Sequence[Table]) -> Iterator[JsonObject]:
    if (types := sets.types("images/")) and types <= PICTURES:
        yield _record_set("pictures", "The original images.", _PICTURES)
    if COCO_PATH in alone:
        yield _record_set("images", "The images by the number that the objects refer to.", _COCO_IMAGES)
        yield _record_set("objects", "The objects of all images, with their box as x, y, width, height.", _COCO_OBJECTS)
    elif JSON_PATH in alone:
        yield _record_set("images", "The images and how many objects they have.", _JSON_IMAGES)
    for table in tables:
        if (path := f"{CSV_FOLDER}{table.file}.csv") in alone:
            yield _record_set(f"metrics-{table.file}", f"{table.name}, a row each.", list(_columns(path, table)))


_Field: TypeAlias = tuple[str, str, JsonObject, str]
"""Name, data type, where it comes from, what it is."""


def _record_set(name: str, what: str, fields: Sequence[_Field]) -> JsonObject:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": what,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field}",
                "name": field,
                "description": meaning,
                "dataType": kind,
                "source": source,
            }
            for field, kind, source, meaning in fields
        ],
    }


def _at(path: str, json_path: str) -> JsonObject:
    return {"fileObject": {"@id": path}, "extract": {"jsonPath": json_path}}


_PICTURES: Sequence[_Field] = (
    (
        "filename",
        "sc:Text",
        {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": "filename"}},
        "Name in the archive.",
    ),
    (
        "content",
        "sc:ImageObject",
        {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": "content"}},
        "The picture itself.",
    ),
)
_COCO_IMAGES: Sequence[_Field] = (
    ("id", "sc:Integer", _at(COCO_IMAGES, "images[*].id"), "Number of the image."),
    ("file_name", "sc:Text", _at(COCO_IMAGES, "images[*].file_name"), "Name in the archive."),
    ("width", "sc:Integer", _at(COCO_IMAGES, "images[*].width"), "Pixels."),
    ("height", "sc:Integer", _at(COCO_IMAGES, "images[*].height"), "Pixels."),
)
_COCO_OBJECTS: Sequence[_Field] = (
    ("id", "sc:Integer", _at(COCO_PATH, "annotations[*].id"), "Number of the object in the archive."),
    ("image_id", "sc:Integer", _at(COCO_PATH, "annotations[*].image_id"), "Number of its image."),
    ("category_id", "sc:Integer", _at(COCO_PATH, "annotations[*].category_id"), "Number of its class."),
    ("area", "sc:Float", _at(COCO_PATH, "annotations[*].area"), "Square pixels, without holes."),
    ("bbox", "cr:BoundingBox", _at(COCO_PATH, "annotations[*].bbox"), "x, y, width, height in pixels."),
)
_JSON_IMAGES: Sequence[_Field] = (
    ("id", "sc:Text", _at(JSON_PATH, "images[*].id"), "Id of the image on the platform."),
    ("name", "sc:Text", _at(JSON_PATH, "images[*].name"), "Name in the archive."),
    ("segmented", "sc:Boolean", _at(JSON_PATH, "images[*].segmented"), "Whether it was ever segmented."),
    ("polygons", "sc:Integer", _at(JSON_PATH, "images[*].statistics.polygons"), "Closed objects in it."),
    ("area", "sc:Float", _at(JSON_PATH, "images[*].statistics.totalArea"), "Square pixels of its objects together."),
)

_TYPES = {Kind.TEXT: "sc:Text", Kind.INTEGER: "sc:Integer", Kind.NUMBER: "sc:Float"}


def _columns(path: str, table: Table) -> Iterator[_Field]:
    """Fields by the place of their column: headers have units and signs that ids do not take."""
    for place, column in enumerate(table.columns, start=1):
        source = {"fileObject": {"@id": path}, "extract": {"column": column.header}}
        yield (
            f"c{place}",
            _TYPES[column.kind],
            source,
            f"{column.header}: {column.meaning}" if column.meaning else column.header,
        )


CONTEXT: JsonObject = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The terms of the specification, as it gives them."""
