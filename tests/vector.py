"""What the tests of the vector formats share: small projects, and what an exporter makes of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from exportd.core.dataset import Annotation, Dataset, Image, MemoryDataset, Points, Polygon, Polyline, Project
from exportd.core.options import ExportOptions
from exportd.formats.member import Member, Tick, Warn

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
