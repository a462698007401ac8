"""What the tests of exporters share: small projects, the odd ones, and what an exporter makes of them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from exportd.core.dataset import Annotation, Dataset, Image, MemoryDataset, Points, Polygon, Polyline, Project
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.naming import archive_names

CASES = Path(__file__).resolve().parents[2] / "shared" / "data" / "edge_cases"
ODD_PROJECTS = sorted(CASES.glob("*.json"))
"""Empty where they are absent."""

OPTIONS = ExportOptions(annotation_formats=("geojson", "cvat", "labelme"))
WIDTH, HEIGHT = 40, 30


@dataclass
class Export:
    """Members by path, images that were counted, warnings."""

    members: dict[str, bytes] = field(default_factory=dict)
    counted: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    looks: int = 0
    """Places to look for a cancel."""

    def only(self) -> bytes:
        (body,) = self.members.values()
        return body


def export(
    exporter: Callable[[Dataset, ExportOptions], Iterator[Member | Tick | Warn]],
    source: Dataset,
    options: ExportOptions = OPTIONS,
) -> Export:
    done = Export()

    def take(value: object) -> None:
        if isinstance(value, Tick):
            done.counted.append(value.item)
        elif isinstance(value, Warn):
            done.warnings.append(value.sentence)

    for value in exporter(source, options):
        take(value)
        if isinstance(value, Member):
            assert value.path not in done.members
            chunks = list(value.chunks)
            for chunk in chunks:
                take(chunk)
            pieces = [chunk for chunk in chunks if isinstance(chunk, bytes)]
            done.looks += len(pieces)
            done.members[value.path] = b"".join(pieces)
    return done


def odd_project(file: Path) -> tuple[MemoryDataset, float | None]:
    """One of the hand-made projects, and its scale where that is a possible one."""
    case: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rows = case["images"]
    names = archive_names([row["name"] for row in rows])
    images = tuple(
        Image(row["id"], name, row["name"], row["width"], row["height"], "image/png", 1)
        for row, name in zip(rows, names, strict=True)
    )
    annotations = {row["id"]: parse_annotation(row["polygons"], row["width"], row["height"]) for row in rows}
    scale = case["scale"] if case["scale"] and case["scale"] <= 1000 else None
    return MemoryDataset(Project("p", case["case"], case["projectType"], "u"), images, annotations), scale and float(
        scale
    )


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def dataset(
    *annotations: Annotation, size: tuple[int | None, int | None] = (WIDTH, HEIGHT), kind: str = "spheroid"
) -> MemoryDataset:
    images = tuple(Image(f"i{n}", f"{n}.png", f"{n}.png", *size, "image/png", 1) for n in range(len(annotations)))
    by_id = {image.id: annotation for image, annotation in zip(images, annotations, strict=True)}
    return MemoryDataset(Project("p", "Title", kind, "u"), images, by_id)


def objects(*polygons: Polygon, lines: tuple[Polyline, ...] = ()) -> Annotation:
    return Annotation(polygons, lines, segmented=True)


corner = st.tuples(st.integers(-6, 46), st.integers(-6, 36)) | st.tuples(
    st.floats(-6, 46, width=32), st.floats(-6, 36, width=32)
)
rings = st.lists(corner, min_size=3, max_size=8).map(lambda found: np.array(found, dtype=np.float64))
polygons = st.lists(
    st.tuples(rings, st.lists(rings, max_size=2), st.text(max_size=5)),
    max_size=4,
).map(lambda rows: tuple(Polygon(name, n, ring, tuple(holes)) for n, (ring, holes, name) in enumerate(rows, start=1)))
"""Convex, concave, crossing themselves, flat, with holes anywhere; some beyond the image."""
