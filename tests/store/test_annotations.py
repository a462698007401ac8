"""Annotations come back from their file as they went in, whoever reads, and a cancel falls between pieces."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from exportd.core.dataset import Annotation, Polygon, Polyline
from exportd.store.annotations import PIECE, AnnotationFile

RING = np.array([[0.1, 2.0], [1e6, -3.5], [7.0, 1 / 3]])


@pytest.fixture
def file() -> Iterator[AnnotationFile]:
    with tempfile.TemporaryFile(buffering=0) as opened:
        yield AnnotationFile(opened.fileno())


def full(count: int) -> Annotation:
    """Every field set, holes on every second polygon."""
    polygons = tuple(
        Polygon(f"é{i}", i + 1, RING + i, (RING, RING[:, ::-1]) if i % 2 else (), "core", "cell 1", 0.1 + i, i % 3 == 0)
        for i in range(count)
    )
    lines = (Polyline("l", RING[:2], "tail", "cell 1", "t", "name", 1 / 3), Polyline("m", RING))
    return Annotation(polygons, lines, ("a sentence",), True, "model", 0.5, 0.25)


def plain(value: object) -> object:
    """Something that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, (Annotation, Polygon, Polyline)):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


@pytest.mark.parametrize("count", [0, 1, PIECE, 2 * PIECE + 1])
def test_annotations_come_back_as_they_went_in(file: AnnotationFile, count: int) -> None:
    written = [full(count), Annotation(), Annotation(segmented=True), full(3)]
    for annotation in written:
        file.append(annotation, lambda: None)
    for index in (3, 0, 2, 1, 0):
        assert plain(file.read(index, lambda: None)) == plain(written[index])


def test_vertices_that_were_read_cannot_be_changed(file: AnnotationFile) -> None:
    file.append(full(1), lambda: None)
    with pytest.raises(ValueError, match="read-only"):
        file.read(0, lambda: None).polygons[0].points[0] = 0


def test_a_cancel_falls_between_two_pieces(file: AnnotationFile) -> None:
    annotation = full(3 * PIECE)
    looks: list[int] = []
    file.append(annotation, lambda: looks.append(1))
    assert len(looks) == 4  # three of polygons, one of polylines
    file.read(0, lambda: looks.append(1))
    assert len(looks) == 8


def test_an_annotation_that_was_not_written_to_its_end_is_none(file: AnnotationFile) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file.append(full(1), stop)
    file.append(full(2), lambda: None)
    assert len(file.read(0, lambda: None).polygons) == 2
