"""Tables with a row per polygon: shape, and brightness where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from exportd.core.dataset import Image, Pixels, Polygon
from exportd.core.geometry import Floats, Regions, Rings, boxes
from exportd.core.options import ExportOptions
from exportd.core.shape import Measures, measures
from exportd.formats.intensities import CHANNELS, STATISTICS, intensities
from exportd.formats.sheets import Power, Rows, Sheet, Subject, column, scaled
from exportd.formats.streaming import size_of
from exportd.formats.tabular import Column, Kind, Values

BATCH_POLYGONS = 400
BATCH_VERTICES = 12_000
"""What is measured in one step; some 10 ms."""

BORDER = 1.0
"""Pixels from the edge of the image within which an object touches it: tracing through pixel centres stays half a pixel
away, in whole pixels one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Objects:
    """Some objects of one image with what they measure."""

    image: Image
    polygons: Sequence[Polygon]
    shape: Measures


@dataclass(frozen=True, slots=True)
class _Text:
    """A column that is no measure."""

    name: str
    meaning: str
    get: Callable[[_Objects], Values]
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class _Number:
    """A column of measures in pixels, scaled by a power of the scale."""

    name: str
    power: Power
    meaning: str
    get: Callable[[_Objects], Floats]


_Field = _Text | _Number

_IMAGE = _Text("Image Name", "name in the archive", lambda o: [o.image.name] * len(o.polygons))

_NUMBERS = "its number in the image's order of external polygons, as on the overlay"

_POLYGON: tuple[_Field, ...] = (
    _IMAGE,
    _Text("Polygon ID", _NUMBERS, lambda o: [polygon.number for polygon in o.polygons], Kind.INTEGER),
    _Text("Type", "always external; holes are subtracted from the object", lambda o: ["external"] * len(o.polygons)),
    _Number("Area", Power.AREA, "A: shoelace area of the outline minus its holes", lambda o: o.shape.area),
    _Number("Perimeter", Power.LENGTH, "P: length of the outline", lambda o: o.shape.perimeter),
    _Number(
        "Perimeter with Holes",
        Power.LENGTH,
        "Ph: length of the outline and its holes",
        lambda o: o.shape.perimeter_with_holes,
    ),
    _Number("Equivalent Diameter", Power.LENGTH, "sqrt(4 A / π)", lambda o: o.shape.equivalent_diameter),
    _Number("Circularity", Power.NONE, "min(1, 4 π A / Ph²)", lambda o: o.shape.circularity),
    _Number(
        "Feret Diameter Max",
        Power.LENGTH,
        "greatest distance between two points of the convex hull H",
        lambda o: o.shape.feret_max,
    ),
    _Number(
        "Feret Diameter Min",
        Power.LENGTH,
        "smallest distance between two parallel tangents of H",
        lambda o: o.shape.feret_min,
    ),
    _Number(
        "Feret Diameter Orthogonal",
        Power.LENGTH,
        "width of H at a right angle to Feret Diameter Max (of equal ones, the least angle to the x axis)",
        lambda o: o.shape.feret_orthogonal,
    ),
    _Number("Feret Aspect Ratio", Power.NONE, "Feret Diameter Max / Feret Diameter Min", lambda o: o.shape.feret_ratio),
    _Number(
        "Major Axis Length",
        Power.LENGTH,
        "4 sqrt(larger eigenvalue of the covariance of the region, holes out)",
        lambda o: o.shape.major_axis,
    ),
    _Number(
        "Minor Axis Length",
        Power.LENGTH,
        "4 sqrt(smaller eigenvalue of the covariance of the region, holes out)",
        lambda o: o.shape.minor_axis,
    ),
    _Number("Bounding Box Width", Power.LENGTH, "greatest x - least x", lambda o: o.shape.width),
    _Number("Bounding Box Height", Power.LENGTH, "greatest y - least y", lambda o: o.shape.height),
    _Number("Extent", Power.NONE, "A / (Bounding Box Width · Height), at most 1", lambda o: o.shape.extent),
    _Number("Compactness", Power.NONE, "Ph² / (4 π A)", lambda o: o.shape.compactness),
    _Number("Convexity", Power.NONE, "perimeter of H / P, at most 1", lambda o: o.shape.convexity),
    _Number("Solidity", Power.NONE, "A / area of H, at most 1", lambda o: o.shape.solidity),
    _Number("Sphericity", Power.NONE, "π · Equivalent Diameter / Ph, at most 1", lambda o: o.shape.sphericity),
    _Number("Centroid X (px)", Power.NONE, "centre of mass, holes out; always pixels", lambda o: o.shape.centroid_x),
    _Number("Centroid Y (px)", Power.NONE, "centre of mass, y down; always pixels", lambda o: o.shape.centroid_y),
    _Number(
        "Orientation (°)",
        Power.NONE,
        "of the major axis from the x axis, counter-clockwise as seen, 0 <= angle < 180; empty if the axes are equal",
        lambda o: o.shape.orientation,
    ),
    _Number("Eccentricity", Power.NONE, "sqrt(1 - (Minor / Major Axis Length)²)", lambda o: o.shape.eccentricity),
    _Number("Convex Area", Power.AREA, "area of H", lambda o: o.shape.hull_area),
    _Text("Holes", "number of holes", lambda o: [len(polygon.holes) for polygon in o.polygons], Kind.INTEGER),
    _Text(
        "Touches Border",
        "1 if it comes within 1 px of the edge of the image, else 0; empty if the image's size is unknown",
        lambda o: touching(o.polygons, o.image),
        Kind.INTEGER,
    ),
)

_CAPSULE: tuple[_Field, ...] = (
    _IMAGE,
    _Text("Capsule ID", _NUMBERS, lambda o: [polygon.number for polygon in o.polygons], Kind.INTEGER),
    _Number("Area", Power.AREA, "A: shoelace area of the outline minus its holes", lambda o: o.shape.area),
    _Number("Perimeter", Power.LENGTH, "length of the outline", lambda o: o.shape.perimeter),
    _Number("Width", Power.LENGTH, "greatest x - least x", lambda o: o.shape.width),
    _Number("Height", Power.LENGTH, "greatest y - least y", lambda o: o.shape.height),
    _Number(
        "Diameter",
        Power.LENGTH,
        "mean of Feret Max and Feret Min",
        lambda o: (o.shape.feret_max + o.shape.feret_min) / 2,
    ),
    _Number("Feret Max", Power.LENGTH, "greatest distance between two points", lambda o: o.shape.feret_max),
    _Number("Feret Min", Power.LENGTH, "smallest distance between two parallel tangents", lambda o: o.shape.feret_min),
    _Number("Equivalent Diameter", Power.LENGTH, "sqrt(4 A / π)", lambda o: o.shape.equivalent_diameter),
    _Number(
        "Compactness", Power.NONE, "Ph² / (4 π A), Ph the length of outline and holes", lambda o: o.shape.compactness
    ),
    _Number("Ovality", Power.NONE, "Feret Max / Feret Min", lambda o: o.shape.feret_ratio),
    _Text(
        "Confidence",
        "of the segmentation, as the project tells it",
        lambda o: [polygon.confidence for polygon in o.polygons],
        Kind.NUMBER,
    ),
)

_OBJECT = _POLYGON[:3]

_MEANINGS = {
    "Mean": "mean",
    "SD": "standard deviation (of a population: divided by n)",
    "Minimum": "least",
    "Maximum": "greatest",
    "Median": "median",
    "Integrated": "sum",
}


def touching(polygons: Sequence[Polygon], image: Image) -> list[int | None]:
    """Whether each comes within `BORDER` of the edge of the image, or passes it: 1 or 0; None if its size is unknown."""
    if (size := size_of(image)) is None:
        return [None] * len(polygons)
    box = boxes(Rings.of([polygon.points for polygon in polygons]))
    near = (box[:, :2] <= BORDER) | (box[:, 2:] >= np.array(size) - BORDER)
    found: list[int | None] = near.any(axis=1).astype(int).tolist()
    return found


# --- columns ------------------------------------------------------------------------------------------------------------


def _columns(fields: Sequence[_Field]) -> Callable[[ExportOptions], tuple[Column, ...]]:
    def columns(options: ExportOptions) -> tuple[Column, ...]:
        own = [_column(field, options.pixel_to_micrometer_scale) for field in fields]
        return (*own, *(_intensity_columns() if options.intensity_metrics else ()))

    return columns


def _column(field: _Field, scale: float | None) -> Column:
    if isinstance(field, _Text):
        return Column(field.name, field.kind, field.meaning)
    return column(field.name, field.power, field.meaning, scale)


def _intensity_columns() -> Iterator[Column]:
    which = {1: "grey or red", 2: "green", 3: "blue"}
    for channel, statistic in product(range(1, CHANNELS + 1), STATISTICS):
        meaning = (
            f"{_MEANINGS[statistic]} of the object's raw pixel values, {which[channel]}; empty without the channel"
        )
        yield Column(f"Channel {channel} {statistic}", meaning=meaning)


# --- rows ---------------------------------------------------------------------------------------------------------------


def _rows(fields: Sequence[_Field], choose: Callable[[Subject], list[Polygon]]) -> Rows:
    def rows(subject: Subject) -> Iterator[tuple[Values, ...] | None]:
        chosen = choose(subject)
        pixels = subject.pixels() if chosen and subject.options.intensity_metrics else None
        for polygons in _batches(chosen):
            yield None  # what came before may have taken its time
            objects = _Objects(subject.image, polygons, measures(Regions.of(polygons)))
            values = [_values(field, objects, subject.scale) for field in fields]
            if subject.options.intensity_metrics:
                yield None
                values += yield from _intensities(polygons, pixels)
            yield tuple(values)

    return rows


def _values(field: _Field, objects: _Objects, scale: float | None) -> Values:
    if isinstance(field, _Text):
        return field.get(objects)
    return scaled(field.get(objects), field.power, scale)


def _intensities(polygons: Sequence[Polygon], pixels: Pixels | None) -> Generator[None, None, list[Floats]]:
    """Column by column; NaN without pixels."""
    if pixels is None:
        return [np.full(len(polygons), np.nan)] * (CHANNELS * len(STATISTICS))
    found = yield from intensities(polygons, pixels)
    return list(found.reshape(len(polygons), -1).T)


def _batches(polygons: Sequence[Polygon]) -> Iterator[list[Polygon]]:
    """In order, none empty; one polygon of very many vertices is a batch of its own."""
    batch: list[Polygon] = []
    vertices = 0
    for polygon in polygons:
        count = len(polygon.points) + sum(map(len, polygon.holes))
        if batch and (len(batch) == BATCH_POLYGONS or vertices + count > BATCH_VERTICES):
            yield batch
            batch, vertices = [], 0
        batch.append(polygon)
        vertices += count
    if batch:
        yield batch


def _uncut(subject: Subject) -> list[Polygon]:
    """Capsules that are wholly in the image."""
    polygons = subject.polygons
    kept = [p for p, cut in zip(polygons, touching(polygons, subject.image), strict=True) if not cut]
    subject.omissions.cut += len(polygons) - len(kept)
    return kept


def _all(subject: Subject) -> list[Polygon]:
    return subject.polygons


POLYGON_METRICS = Sheet("Polygon Metrics", "metrics", _columns(_POLYGON), _rows(_POLYGON, _all), summarised=True)

MICROCAPSULE_METRICS = Sheet(
    "Microcapsule Metrics", "metrics", _columns(_CAPSULE), _rows(_CAPSULE, _uncut), summarised=True
)

OBJECT_INTENSITIES = Sheet("Object Intensities", "object_intensities", _columns(_OBJECT), _rows(_OBJECT, _all))
"""For projects whose own tables have no row per polygon; only where intensities are asked for."""
