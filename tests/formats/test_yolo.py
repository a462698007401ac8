"""YOLO labels as a trainer reads them: one ring to an object, inside the image, holes open."""

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from exportd.core.dataset import Annotation, Image, MemoryDataset, Points, Polygon, Polyline, Project
from exportd.core.options import ExportOptions
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.yolo import yolo

WIDTH, HEIGHT = 200, 100
OPTIONS = ExportOptions(annotation_formats=("yolo",))


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def dataset(*annotations: Annotation, **changes: Any) -> MemoryDataset:
    known: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "media_type": "image/png", "size": 1, **changes}
    images = tuple(Image(id=f"i{n}", name=f"{n}.png", original_name="x", **known) for n in range(len(annotations)))
    by_id = {image.id: annotation for image, annotation in zip(images, annotations, strict=True)}
    return MemoryDataset(Project("p", "Title", "cells", "u"), images, by_id)


def export(source: MemoryDataset) -> tuple[dict[str, str], list[str], list[str]]:
    """Members as text, the images that were counted, the warnings."""
    members, counted, warnings = {}, [], []
    for value in yolo(source, OPTIONS):
        match value:
            case Member():  # written before the next value is asked for, as the archive does it
                members[value.path] = b"".join(c for c in value.chunks if isinstance(c, bytes)).decode()
            case Tick():
                counted.append(value.item)
            case Warn():
                warnings.append(value.sentence)
    return members, counted, warnings


def objects(*polygons: Polygon) -> Annotation:
    return Annotation(polygons, segmented=True)


def shape(line: str) -> tuple[int, shapely.Geometry]:
    """Class and shape of a line by the even-odd rule, in pixels."""
    first, *numbers = line.split()
    values = np.array(numbers, dtype=np.float64)
    assert len(values) >= 6
    assert len(values) % 2 == 0
    assert ((values >= 0) & (values <= 1)).all()
    assert not any("e" in number for number in numbers)
    return int(first), shapely.make_valid(shapely.Polygon(values.reshape(-1, 2) * (WIDTH, HEIGHT)))


def test_every_image_has_a_file_and_an_object_a_line() -> None:
    members, counted, warnings = export(
        dataset(
            objects(Polygon("a", 1, square(10, 20, 40)), Polygon("b", 2, square(60, 20, 10), part_class="core")),
            objects(),
            Annotation(),
        )
    )
    assert set(members) == {"labels/0.txt", "labels/1.txt", "labels/2.txt", "data.yaml", "classes.txt"}
    assert members["labels/0.txt"].splitlines()[0] == "0 0.05 0.2 0.25 0.2 0.25 0.6 0.05 0.6"
    assert members["labels/1.txt"] == members["labels/2.txt"] == ""
    names = members["classes.txt"].split()
    assert names[shape(members["labels/0.txt"].splitlines()[1])[0]] == "core"
    assert [line.strip() for line in members["data.yaml"].splitlines() if line.startswith("  ")] == [
        f"{i}: {name}" for i, name in enumerate(names)
    ]
    assert (counted, warnings) == (["0.png", "1.png", "2.png"], [])


def test_the_data_file_finds_the_images_wherever_it_was_unzipped() -> None:
    members, _, _ = export(dataset(objects()))
    lines = members["data.yaml"].splitlines()
    assert "train: images" in lines
    assert "val: images" in lines
    # A path would be taken from the trainer's own directory; without one it is the file's.
    assert not any(line.startswith("path:") for line in lines)


def test_holes_stay_open() -> None:
    holes = (square(20, 20, 10), square(60, 30, 20), square(40, 60, 5))
    members, _, _ = export(dataset(objects(Polygon("a", 1, square(10, 10, 80), holes))))
    _, found = shape(members["labels/0.txt"])
    expected = shapely.Polygon(square(10, 10, 80), holes)
    assert shapely.symmetric_difference(found, expected).area < 0.01


def test_what_reaches_beyond_the_image_is_clipped_to_it() -> None:
    members, _, _ = export(dataset(objects(Polygon("a", 1, square(-10, -10, 30), (square(-5, -5, 10),)))))
    _, found = shape(members["labels/0.txt"])
    assert found.area == pytest.approx(20 * 20 - 5 * 5, abs=0.01)


def test_what_the_format_cannot_hold_is_told_with_a_count() -> None:
    line = Polyline("l", np.array([(0.0, 0.0), (5.0, 5.0)]))
    far = Polygon("far", 1, square(900, 900, 5))
    members, counted, warnings = export(dataset(Annotation((far,), (line,), segmented=True)))
    assert members["labels/0.txt"] == ""
    assert counted == ["0.png"]
    assert len(warnings) == 2
    assert all("1 " in warning for warning in warnings)


def test_an_image_of_unknown_size_is_not_said_to_be_empty() -> None:
    some = objects(Polygon("a", 1, square(1, 1, 5)))
    members, counted, warnings = export(dataset(some, objects(), width=None, height=None))
    assert "labels/0.txt" not in members
    assert counted == ["0.png", "1.png"]
    assert len(warnings) == 1


def test_many_vertices_and_many_holes_take_neither_memory_nor_minutes() -> None:
    turns = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    circle = np.column_stack((100 + 49 * np.cos(turns), 50 + 49 * np.sin(turns)))
    small = 0.2 * (circle - (100, 50)) + (100, 50)
    holes = (small, *(square(70 + 2 * i, 65 + 2 * j, 1) for i in range(20) for j in range(5)))
    members, _, _ = export(dataset(objects(Polygon("a", 1, circle, holes))))
    _, found = shape(members["labels/0.txt"])
    assert found.area == pytest.approx(np.pi * 49**2 * (1 - 0.04) - 100, rel=1e-3)


corner = st.tuples(st.integers(-4, 24), st.integers(-4, 14)).map(lambda c: (10.0 * c[0], 10.0 * c[1]))
rings = st.lists(corner, min_size=3, max_size=8)


def areal(ring: list[tuple[float, float]]) -> shapely.Geometry:
    """What the ring encloses by the even-odd rule, without the lines that shapely makes of the rest."""
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(shapely.Polygon(ring))))
    return shapely.union_all([part for part in parts if part.geom_type == "Polygon"])


@given(rings, st.lists(rings, max_size=3))
@example(
    [(0.0, 20.0), (0.0, 30.0), (180.0, 50.0)],
    [[(0.0, 0.0), (0.0, 30.0), (10.0, -10.0)], [(0.0, 30.0), (0.0, 40.0), (120.0, 40.0)]],
)
def test_a_line_covers_the_largest_piece_that_is_inside_the_image(
    outline: list[tuple[float, float]], holes: list[list[tuple[float, float]]]
) -> None:
    polygon = Polygon("a", 1, np.array(outline), tuple(map(np.array, holes)))
    members, _, _ = export(dataset(objects(polygon)))
    # All holes at once: after one by one, pieces that meet in a point were found to be one by the rounding of its place.
    region = areal(outline).difference(shapely.union_all([areal(hole) for hole in holes]))
    parts = shapely.get_parts(shapely.get_parts(region.intersection(shapely.box(0, 0, WIDTH, HEIGHT))))
    largest = max((part.area for part in parts if part.geom_type == "Polygon"), default=0.0)
    lines = members["labels/0.txt"].splitlines()
    assert bool(lines) == (largest > 1e-6) or not shapely.Polygon(outline).is_valid
    for line in lines:
        _, found = shape(line)
        if shapely.Polygon(outline).is_valid:  # else the ring stays as it is: how it is filled is up to the reader
            assert found.area == pytest.approx(largest, rel=1e-3, abs=0.1)


def test_a_hole_that_touches_the_outline_is_bridged_too() -> None:
    outline = square(0, 0, 100)
    for hole in (
        np.array([(20.0, 100.0), (40.0, 60.0), (60.0, 80.0)]),
        np.array([(20.0, 0.0), (60.0, 20.0), (40.0, 40.0)]),
        np.array([(0.0, 50.0), (60.0, 20.0), (40.0, 70.0)]),
    ):
        members, _, _ = export(dataset(objects(Polygon("a", 1, outline, (hole,)))))
        _, found = shape(members["labels/0.txt"])
        assert found.area == pytest.approx(10_000 - shapely.Polygon(hole).area, abs=0.1)
