"""ImageJ ROI sets, by `ij/io/RoiDecoder.java` and `RoiEncoder.java` of ImageJ, as its ROI Manager opens them.

A ZIP per image with a file per object, in the order of the archive's other formats: first polygons, then polylines.
Coordinates are 32-bit floats with sub-pixel resolution, exact to 0.001 pixel up to 16,384 pixels from the origin and to
0.01 up to 131,072. ImageJ measures areas from pixel corners, as exportd does, but lines from pixel centres, so polylines
are moved by half a pixel. The format's 16-bit integers (bounding box, a second copy of the vertices) would wrap beyond
-5000 to 60,535; ImageJ does not read them where there are floats, and here they stop at these limits.

An object is a polygon; one with holes is a composite path, which the even-odd rule fills; a line is a polyline. ImageJ
measures the perimeters of these types as they are, while those of freehand and traced outlines are smoothed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import shapely

from exportd.core.dataset import Annotation, Dataset, Image, Points, Polygon, Polyline
from exportd.core.geometry import Floats, pieces
from exportd.core.options import ExportOptions
from exportd.formats.classes import CLASSES, class_name
from exportd.formats.clipping import ring_of, without_holes
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.naming import archive_names
from exportd.formats.streaming import chunked
from exportd.formats.zipping import packed

FOLDER = "annotations/imagej/"

VERSION = 228
"""Of the format (ImageJ 1.52t): the first with groups."""

LOWEST, HIGHEST = -5000, 60535
"""Integers that ImageJ reads as they were meant: 16 bits, of which the lowest count as numbers above 32,767."""

MOST_VERTICES = 65535
"""That the count of vertices can tell; a greater one stands in another place, where ImageJ looks when this one is 0."""

PIXEL_CENTRE = 0.5
"""Where lines have their origin, in pixels from the corner."""

MOST_STORED = 16 << 10
"""Bytes up to which a ROI is stored: packed one by one, small ones lose a fifth, for half of the time of a set. Large ones are
packed, and have to be: Java reads no stored member whose header could not tell its size."""

_SUB_PIXEL = 128
_MOVE_TO, _LINE_TO, _CLOSE = 0.0, 1.0, 4.0
_HEADER = struct.Struct(">4sHBx4HHi14xi10xH4xii")
_HEADER2 = struct.Struct(">16xii6xB9xii16x")
_SEPARATORS = re.compile(r"[/\\]")
_GROUPS = {row.name: index for index, row in enumerate(CLASSES, start=1)}


class _Type(IntEnum):
    POLYGON = 0
    COMPOSITE = 1
    POLYLINE = 5


def imagej(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:
    """A ROI set for each image with objects: ImageJ refuses an empty one, so images without get none, which is told."""
    del options
    losses = _Losses()
    for image, annotation in dataset.annotated():
        if annotation.polygons or annotation.polylines:
            yield _member(dataset.project.type, image, annotation, losses)
        else:
            losses.empty += 1
        yield Tick(image.name)
    yield from losses.warnings()


def _member(project_type: str, image: Image, annotation: Annotation, losses: _Losses) -> Member:
    return Member(
        f"{FOLDER}{image.stem}_RoiSet.zip",
        chunked(packed(_files(project_type, annotation, losses))),
        "application/zip",
        compress=False,
        source_image_id=image.id,
        original_name=image.original_name,
    )


@dataclass(slots=True)
class _Losses:
    """What is not there, told at the end."""

    empty: int = 0
    """Images without objects."""
    filled: int = 0
    """Polygons of which their holes leave nothing."""

    def warnings(self) -> Iterator[Warn]:
        if self.empty:
            yield _warn(self.empty, "image has", "images have", "no RoiSet.zip: ImageJ opens none without objects")
        if self.filled:
            yield _warn(self.filled, "polygon is", "polygons are", "left out: holes leave nothing of it")


def _warn(count: int, one: str, several: str, what: str) -> Warn:
    return Warn(f"ImageJ ROIs: 1 {one} {what}.", f"ImageJ ROIs: {{count}} {several} {what}.", count)


def _files(project_type: str, annotation: Annotation, losses: _Losses) -> Iterator[Member]:
    """A file for each ROI. ImageJ takes its name for the list from the file's own, so both are the same."""
    objects: tuple[Polygon | Polyline, ...] = (*annotation.polygons, *annotation.polylines)
    for name, item in zip(roi_names([item.id for item in objects]), objects, strict=True):
        kind = class_name(project_type, item.part_class)
        body = _line(item.points) if isinstance(item, Polyline) else _area(item)
        if body is None:
            losses.filled += 1
        else:
            file = roi(body, name, kind, _properties(item, kind))
            yield Member(f"{name}.roi", [file], compress=len(file) > MOST_STORED)


def roi_names(ids: Sequence[str]) -> list[str]:
    """A name for each object: its id, as far as a file can be called so, with a number where several are called the same."""
    names = archive_names([f"{_SEPARATORS.sub('_', name)}.roi" for name in ids])
    return [name.removesuffix(".roi") for name in names]


def _properties(item: Polygon | Polyline, kind: str) -> str:
    """Lines that ImageJ shows with the ROI and measures by; the number is that of overlay and tables."""
    found = {
        "class": kind,
        "number": item.number if isinstance(item, Polygon) else None,
        "instance": item.instance_id,
        "track": item.track_id if isinstance(item, Polyline) else None,
    }
    return "".join(f"{key}: {_one_line(str(value))}\n" for key, value in found.items() if value is not None)


def _one_line(text: str) -> str:
    """ImageJ reads properties as Java does: a backslash would begin an escape."""
    return " ".join(text.split()).replace("\\", "\\\\")


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The part of a ROI that depends on its type."""

    type: _Type
    box: Points
    """Of its vertices; shape (2, 2)."""
    vertices: int
    path: int
    """Numbers of a composite path, 0 where there is none."""
    coordinates: bytes


def _area(polygon: Polygon) -> Geometry | None:
    """A polygon if it has no holes; a path of its rings if it has; None if its holes leave nothing."""
    if not polygon.holes:
        return _vertices(_Type.POLYGON, polygon.points)
    rings = [polygon.points, *polygon.holes]
    if not shapely.is_valid(shapely.Polygon(rings[0], rings[1:])):
        rings = _apart(polygon)
    return _composite(rings) if rings else None


def _apart(polygon: Polygon) -> list[Points]:
    """Rings that do not cross, so that the even-odd rule covers the polygon without the union of its holes."""
    return [ring_of(ring) for piece in pieces(without_holes(polygon)) for ring in (piece.exterior, *piece.interiors)]


def _line(points: Points) -> Geometry:
    return _vertices(_Type.POLYLINE, points - PIXEL_CENTRE)


def _vertices(kind: _Type, points: Points) -> Geometry:
    """All x, then all y, from the box's corner in 16 bits; then the same from the origin, as floats."""
    low, high = points.min(axis=0), points.max(axis=0)
    whole = np.clip(np.rint(points - np.floor(low)), 0, HIGHEST)
    coordinates = whole.astype(">u2").tobytes(order="F") + points.astype(">f4").tobytes(order="F")
    return Geometry(kind, np.stack([low, high]), len(points), 0, coordinates)


def _composite(rings: Sequence[Points]) -> Geometry:
    numbers = np.concatenate([_path(ring) for ring in rings])
    every = np.concatenate(rings)
    box = np.stack([every.min(axis=0), every.max(axis=0)])
    return Geometry(_Type.COMPOSITE, box, 0, len(numbers), numbers.astype(">f4").tobytes())


def _path(ring: Points) -> Floats:
    """Codes and coordinates of `java.awt.geom.PathIterator`: go to the first vertex, lines to the others, close."""
    lines = np.column_stack([np.full(len(ring), _LINE_TO), ring])
    lines[0, 0] = _MOVE_TO
    return np.append(lines.ravel(), _CLOSE)


def roi(geometry: Geometry, name: str, kind: str, properties: str) -> bytes:
    """The bytes of a `.roi` file; `kind` becomes the group, 1 and on in the order of the classes, as COCO counts them."""
    left, top = np.clip(np.floor(geometry.box[0]), LOWEST, HIGHEST).astype(int).tolist()
    right, bottom = np.clip(np.ceil(geometry.box[1]), LOWEST, HIGHEST).astype(int).tolist()
    wide_name, wide_properties = name.encode("utf-16-be"), properties.encode("utf-16-be")
    second = _HEADER.size + len(geometry.coordinates)
    texts = second + _HEADER2.size
    few = geometry.vertices <= MOST_VERTICES
    return b"".join(
        [
            _HEADER.pack(
                b"Iout",
                VERSION,
                geometry.type,
                *(side & 0xFFFF for side in (top, left, bottom, right)),
                geometry.vertices if few else 0,
                0 if few else geometry.vertices,
                geometry.path,
                0 if geometry.path else _SUB_PIXEL,
                0,  # on all slices of a stack
                second,
            ),
            geometry.coordinates,
            _HEADER2.pack(
                texts,
                len(wide_name) // 2,
                _GROUPS[kind],
                texts + len(wide_name),
                len(wide_properties) // 2,
            ),
            wide_name,
            wide_properties,
        ]
    )
