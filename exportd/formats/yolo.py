"""YOLO segmentation labels, by the "Instance Segmentation Datasets Overview" of Ultralytics.

A text file per image in `labels/`, beside `images/`, where the loaders look; a line per object, `class x1 y1 x2 y2 ...`,
coordinates divided by the image's width and height, so 0 to 1 from the top left corner. The format knows one ring per
object: holes are joined to the outline by a cut of no width, and an object is cut at the edge of its image.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from exportd.core.dataset import Annotation, Dataset, Image, Points, Polygon
from exportd.core.geometry import Floats
from exportd.core.options import ExportOptions
from exportd.formats.classes import CLASSES, class_index
from exportd.formats.clipping import cut_region, is_inside
from exportd.formats.keyhole import keyhole
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.streaming import Losses, batches, size_of

DECIMALS = 6
"""Of a normalised coordinate: 0.01 pixel in an image of 10,000."""

BATCH = 25
"""Polygons between two looks for a cancel."""

PLAIN_TEXT = "text/plain; charset=utf-8"


def yolo(dataset: Dataset, options: ExportOptions) -> Generator[Member | Tick | Warn, None, None]:
    """A label file per image, then `data.yaml` and `classes.txt`. An image without objects gets an empty file.

    One of unknown size that has objects gets none: they cannot be normalised, and an empty file would deny them.
    """
    del options
    losses = Losses("YOLO")
    for image, annotation in dataset.annotated():
        size = size_of(image)
        if size is None and annotation.polygons:
            losses.sizeless(image)
        else:
            yield _labels(dataset.project.type, image, size or (1, 1), annotation, losses)
        yield Tick(image.name)
    yield Member("data.yaml", [_data_yaml().encode()], "application/yaml")
    yield Member("classes.txt", [_classes_txt().encode()], PLAIN_TEXT)
    yield from losses.warnings()


def _data_yaml() -> str:
    # Without `path` a loader takes the folder of this file; `path: .` would be the folder that it was started in.
    names = "".join(f"  {index}: {row.name}\n" for index, row in enumerate(CLASSES))
    return f"train: images\nval: images\nnames:\n{names}"


def _classes_txt() -> str:
    return "".join(f"{row.name}\n" for row in CLASSES)


def _labels(project_type: str, image: Image, size: tuple[int, int], annotation: Annotation, losses: Losses) -> Member:
    losses.lines += len(annotation.polylines)
    return Member(
        f"labels/{image.stem}.txt",
        _chunks(project_type, size, annotation, losses),
        PLAIN_TEXT,
        source_image_id=image.id,
        original_name=image.original_name,
    )


def _chunks(project_type: str, size: tuple[int, int], annotation: Annotation, losses: Losses) -> Iterator[bytes]:
    for polygons in batches(annotation.polygons, BATCH):
        lines = []
        for polygon in polygons:
            ring = _ring(polygon, size, losses)
            if ring is None:
                losses.outside += 1
            else:
                lines.append(label_line(class_index(project_type, polygon), ring, size))
        yield "".join(lines).encode()
        yield b""


def label_line(index: int, ring: Points, size: tuple[int, int]) -> str:
    """The line of one object, with its end; `size` is width and height of the image in pixels."""
    return f"{index}{_numbers(np.clip(ring / size, 0, 1).ravel())}\n"


def _numbers(values: Floats) -> str:
    """Numbers from 0 to 1, a space before each, without zeros at the end; all digits at once, as there are millions."""
    units = np.rint(values * 10**DECIMALS).astype(np.int64)
    digits = units[:, None] // 10 ** np.arange(DECIMALS, -1, -1) % 10
    significant = np.logical_or.accumulate(digits[:, :0:-1] != 0, axis=1)[:, ::-1]
    point = np.full((len(units), 1), ord("."))
    space = np.full((len(units), 1), ord(" "))
    characters = np.hstack([space, digits[:, :1] + ord("0"), point, digits[:, 1:] + ord("0")]).astype(np.uint8)
    always = np.ones((len(units), 2), bool)
    kept = characters[np.hstack([always, significant[:, :1], significant])]
    return str(kept.tobytes(), "ascii")


def _ring(polygon: Polygon, size: tuple[int, int], losses: Losses) -> Points | None:
    """The polygon as one ring inside the image; None if nothing of it is there."""
    if not polygon.holes and is_inside(polygon.points, *size):
        return polygon.points
    pieces = cut_region(polygon, *size)
    if not pieces:
        return None
    losses.parted += len(pieces) > 1
    return keyhole(pieces[0])
