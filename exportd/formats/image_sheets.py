"""Tables with a row per image: invasive spheroids and wounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exportd.core.dataset import Polygon
from exportd.core.geometry import Regions, region_areas
from exportd.core.job import wire_time
from exportd.core.options import ExportOptions
from exportd.formats.disintegration import Panel, panel
from exportd.formats.sheets import Power, Sheet, Subject, column
from exportd.formats.streaming import size_of
from exportd.formats.tabular import Column, Kind, Values


def _area(polygons: Sequence[Polygon]) -> float:
    """Sum of the areas without holes, square pixels; polygons that overlap count each."""
    return float(region_areas(Regions.of(polygons)).sum())


# --- invasive spheroids -------------------------------------------------------------------------------------------------


_INVASION: tuple[tuple[str, Power, str, Kind], ...] = (
    ("Total Spheroid Area", Power.AREA, "sum of the external polygons that are no core, holes out", Kind.NUMBER),
    ("Core Area", Power.AREA, "sum of the core polygons, holes out", Kind.NUMBER),
    ("Invasion Area", Power.AREA, "Total Spheroid Area - Core Area, not below 0", Kind.NUMBER),
    (
        "Disintegration Index",
        Power.NONE,
        "tanh of the mean distance of the foreground's radial quantiles from those of a disc of the core's size",
        Kind.NUMBER,
    ),
    (
        "Radial Reach q95 (R_core)",
        Power.NONE,
        "95th percentile of the foreground's distances from the core's centre, in core radii sqrt(N_core / π)",
        Kind.NUMBER,
    ),
    ("Dispersed-Mass Fraction", Power.NONE, "share of the foreground's pixels outside the core", Kind.NUMBER),
    (
        "Fragment Count",
        Power.NONE,
        "8-connected pieces of at least 30 px after closing with an ellipse of radius 2 px",
        Kind.INTEGER,
    ),
    ("Largest-Fragment Fraction", Power.NONE, "share of the largest fragment in the sum of all", Kind.NUMBER),
    ("Solidity", Power.NONE, "foreground's pixels / area of the hull around their centres, at most 1", Kind.NUMBER),
    ("Hole Count", Power.NONE, "enclosed background regions of at least 30 px", Kind.INTEGER),
    ("Core Equiv. Diameter", Power.LENGTH, "2 sqrt(N_core / π), N counts pixels", Kind.NUMBER),
    ("Whole Equiv. Diameter", Power.LENGTH, "2 sqrt(N / π) of the foreground, core included", Kind.NUMBER),
)


def _invasion_columns(options: ExportOptions) -> tuple[Column, ...]:
    scale = options.pixel_to_micrometer_scale
    own = (column(name, power, meaning, scale, kind) for name, power, meaning, kind in _INVASION)
    return (Column("Image Name", Kind.TEXT, "name in the archive"), *own)


def _invasion_rows(subject: Subject) -> Iterator[tuple[Values, ...] | None]:
    polygons = subject.polygons
    cores = [polygon for polygon in polygons if polygon.part_class == "core"]
    total = None if subject.in_doubt else _area([p for p in polygons if p.part_class != "core"])
    core = _area(cores) if cores else None
    invasion = None if total is None or core is None else max(0.0, total - core)
    yield None
    size = size_of(subject.image)
    found = (yield from panel(polygons, *size)) if size and cores else None
    values = (total, core, invasion, *_panel(found))
    factors = [(subject.scale or 1) ** power for _, power, _, _ in _INVASION]
    row = [None if v is None else v * f if f != 1 else v for v, f in zip(values, factors, strict=True)]
    yield ([subject.image.name], *([value] for value in row))


def _panel(found: Panel | None) -> tuple[float | int | None, ...]:
    if found is None:
        return (None,) * 9
    return (
        found.index,
        found.reach,
        found.dispersed,
        found.fragments,
        found.largest,
        found.solidity,
        found.holes,
        found.core_diameter,
        found.whole_diameter,
    )


IMAGE_METRICS = Sheet("Image Metrics", "metrics", _invasion_columns, _invasion_rows)


# --- wounds -------------------------------------------------------------------------------------------------------------


def _wound_columns(options: ExportOptions) -> tuple[Column, ...]:
    del options
    return (
        Column("Order", Kind.INTEGER, "1, 2, ... by display order, then creation"),
        Column("Image Name", Kind.TEXT, "name in the archive"),
        Column("Wound Area (%)", Kind.NUMBER, "external polygons minus their holes / area of the image · 100"),
        Column("Polygons", Kind.INTEGER, "external polygons that are counted; empty without a segmentation"),
        Column("Created At (UTC)", Kind.TEXT, "when the image was added to the project"),
        Column("Image ID", Kind.TEXT, "of the project"),
        Column("Note", Kind.TEXT, "why a value is missing"),
    )


def _wound_rows(subject: Subject) -> Iterator[tuple[Values, ...] | None]:
    image, polygons = subject.image, subject.polygons
    size, doubt = size_of(image), subject.in_doubt
    share = None if doubt or size is None else 100 * _area(polygons) / (size[0] * size[1])
    notes = [note for note in (doubt, None if size else "image size unknown") if note]
    yield (
        [subject.order],
        [image.name],
        [share],
        [len(polygons) if subject.annotation.segmented else None],
        [wire_time(image.created_at)],
        [image.id],
        ["; ".join(notes) or None],
    )


WOUND_TIME_SERIES = Sheet("WoundTimeSeries", "wound_time_series", _wound_columns, _wound_rows)
