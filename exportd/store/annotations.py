"""The annotations of one export on disk, parsed once and read by as many exporters as there are.

A file of pieces, each at most `PIECE` polygons or polylines: the vertices of all rings, x and y as 64-bit floats, then a
line of JSON with the fields. Behind the pieces of an annotation lies its head, which tells of them and holds the rest. Where
the heads lie is known to this process alone, 16 bytes for each; the file means nothing without it and does not outlive the
export.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import orjson

from exportd.core.dataset import Annotation, Points, Polygon, Polyline

PIECE = 250
"""Polygons that are written or read in one step, some 1 ms: a cancel falls between two."""

_Fields: TypeAlias = tuple[Any, ...]
"""Of a polygon or polyline, all but its vertices; what JSON can hold."""


_Piece: TypeAlias = tuple[int, int, int]
"""Where it begins, bytes of the vertices, bytes of all of it."""


class AnnotationFile:
    """Annotations in the order in which they were appended. Reading is safe from several threads at once.

    Blocking; every method may raise OSError. The descriptor, of an empty file, is its opener's to close.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = 0
        self._places = array("Q")
        """Of each annotation where its head is, and how many bytes it has."""

    def append(self, annotation: Annotation, check: Callable[[], None]) -> None:
        """Writes it at the end; `check` is called per piece and may raise, which leaves this annotation out."""
        polygons = self._written(map(_polygon_parts, annotation.polygons), check)
        polylines = self._written(map(_polyline_parts, annotation.polylines), check)
        head = orjson.dumps((_rest(annotation), polygons, polylines))
        place = self._end
        self._write(head)
        self._places.extend((place, len(head)))

    def read(self, index: int, check: Callable[[], None]) -> Annotation:
        """The annotation that was appended as number `index`, counted from 0; `check` is called per piece."""
        place, size = self._places[2 * index : 2 * index + 2]
        (warnings, *rest), polygons, polylines = orjson.loads(os.pread(self._fd, size, place))
        return Annotation(
            tuple(_polygon(*parts) for parts in self._parts(polygons, check)),
            tuple(_polyline(*parts) for parts in self._parts(polylines, check)),
            tuple(warnings),
            *rest,
        )

    def _written(
        self, shapes: Iterator[tuple[_Fields, Sequence[Points]]], check: Callable[[], None]
    ) -> tuple[_Piece, ...]:
        pieces = []
        while some := list(islice(shapes, PIECE)):
            check()
            rings = [ring for _, of_shape in some for ring in of_shape]
            vertices = np.concatenate(rings).tobytes()
            head = [(fields, list(map(len, of_shape))) for fields, of_shape in some]
            data = vertices + orjson.dumps(head)
            pieces.append((self._end, len(vertices), len(data)))
            self._write(data)
        return tuple(pieces)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self._end)
            self._end += written
            view = view[written:]

    def _parts(
        self, pieces: Iterable[_Piece], check: Callable[[], None]
    ) -> Iterator[tuple[list[Any], tuple[Points, ...]]]:
        """Fields and rings of each shape."""
        for offset, vertices, size in pieces:
            check()
            data = os.pread(self._fd, size, offset)
            points = np.frombuffer(data, np.float64, vertices // 8).reshape(-1, 2)
            end = 0
            for fields, counts in orjson.loads(data[vertices:]):
                rings = []
                for count in counts:
                    begin, end = end, end + count
                    rings.append(points[begin:end])
                yield fields, tuple(rings)


def _rest(annotation: Annotation) -> _Fields:
    """All but polygons and polylines."""
    return (
        annotation.warnings,
        annotation.segmented,
        annotation.model,
        annotation.threshold,
        annotation.confidence,
    )


def _polygon_parts(polygon: Polygon) -> tuple[_Fields, Sequence[Points]]:
    fields = (
        polygon.id,
        polygon.number,
        polygon.part_class,
        polygon.instance_id,
        polygon.confidence,
        polygon.complete,
    )
    return fields, (polygon.points, *polygon.holes)


def _polygon(fields: list[Any], rings: tuple[Points, ...]) -> Polygon:
    name, number, part_class, instance_id, confidence, complete = fields
    return Polygon(name, number, rings[0], rings[1:], part_class, instance_id, confidence, complete)


def _polyline_parts(line: Polyline) -> tuple[_Fields, Sequence[Points]]:
    fields = (line.id, line.part_class, line.instance_id, line.track_id, line.name, line.confidence)
    return fields, (line.points,)


def _polyline(fields: list[Any], rings: tuple[Points, ...]) -> Polyline:
    name, *rest = fields
    return Polyline(name, rings[0], *rest)
