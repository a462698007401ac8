"""What is measured in a project of each type, and which tables it goes into: one row of `PROFILES` per type.

`tables` tells the tables before anything is measured, `measure` fills them in one walk over the images. Values are in
the unit that the column's header names; what does not exist is NaN or None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exportd.core.dataset import Dataset
from exportd.core.options import ExportOptions
from exportd.formats.image_sheets import IMAGE_METRICS, WOUND_TIME_SERIES
from exportd.formats.line_sheets import MICROTUBULE_METRICS, SPERM_METRICS
from exportd.formats.member import Tick, Warn
from exportd.formats.polygon_sheets import MICROCAPSULE_METRICS, OBJECT_INTENSITIES, POLYGON_METRICS
from exportd.formats.sheets import Omissions, Sheet, Subject
from exportd.formats.tabular import Block, Table


@dataclass(frozen=True, slots=True)
class Profile:
    """The sheets of a type of project, the main one first; `lines` tells that it measures polylines, not polygons."""

    sheets: tuple[Sheet, ...]
    lines: bool = False
    by_polygon: bool = True
    """Whether the main sheet has a row per polygon, and so a place for intensities."""


SPHEROID = Profile((POLYGON_METRICS,))
"""Also for types that nobody knows."""

PROFILES: dict[str, Profile] = {
    "spheroid": SPHEROID,
    "spheroid_invasive": Profile((IMAGE_METRICS,), by_polygon=False),
    "wound": Profile((POLYGON_METRICS, WOUND_TIME_SERIES)),
    "sperm": Profile((SPERM_METRICS,), lines=True, by_polygon=False),
    "microcapsule": Profile((MICROCAPSULE_METRICS,)),
    "microtubules": Profile((MICROTUBULE_METRICS,), lines=True, by_polygon=False),
}


def tables(project_type: str, options: ExportOptions) -> tuple[Table, ...]:
    """The tables of a project of this type, with the columns and units that the options ask for; the main one first."""
    return tuple(sheet.table(options) for sheet in _sheets(project_type, options))


def measure(dataset: Dataset, options: ExportOptions) -> Iterator[Block | Tick | Warn]:
    """All tables in one walk over the project or a part of it: blocks of at most 1000 rows, those of different tables in
    turn, a `Tick` per image.

    An object flagged as incomplete is left out and keeps its number. A block may have no rows: it is a place to look for
    a cancel in an image that takes long. What was left out is told at the end.
    """
    profile = PROFILES.get(dataset.project.type, SPHEROID)
    sheets = [(sheet, sheet.table(options)) for sheet in _sheets(dataset.project.type, options)]
    omissions = Omissions()
    for image, annotation in dataset.annotated():
        subject = Subject(dataset, options, image, annotation, omissions)
        if profile.lines and not options.intensity_metrics:
            omissions.polygons += len(annotation.polygons)
        else:
            omissions.incomplete += len(annotation.polygons) - len(subject.polygons)
        if not profile.lines:
            omissions.lines += len(annotation.polylines)
        for sheet, table in sheets:
            for values in sheet.rows(subject):
                yield Block(table, ((),) * len(table.columns) if values is None else values)
        yield Tick(image.name)
    yield from omissions.warnings()


def _sheets(project_type: str, options: ExportOptions) -> tuple[Sheet, ...]:
    profile = PROFILES.get(project_type, SPHEROID)
    if options.intensity_metrics and not profile.by_polygon:
        return (*profile.sheets, OBJECT_INTENSITIES)
    return profile.sheets
