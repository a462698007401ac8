"""Tables of polylines: sperm by their parts, microtubules by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from exportd.core.dataset import Polyline
from exportd.core.geometry import Floats, Rings, lengths
from exportd.core.options import ExportOptions
from exportd.formats.instances import MICROTUBULES, instance_of, labels
from exportd.formats.sheets import Power, Sheet, Subject, column, scaled
from exportd.formats.streaming import batches
from exportd.formats.tabular import Column, Kind, Values

PARTS = ("head", "midpiece", "tail")

ROWS = 1000
"""Lines that are measured, and written, in one step."""


def _lengths(lines: Sequence[Polyline]) -> Floats:
    return lengths(Rings.of([line.points for line in lines]))


# --- sperm --------------------------------------------------------------------------------------------------------------


def _sperm_columns(options: ExportOptions) -> tuple[Column, ...]:
    scale = options.pixel_to_micrometer_scale
    parts = (column(p.title(), Power.LENGTH, f"length of the {p}, of several the sum", scale) for p in PARTS)
    return (
        Column("Image Name", Kind.TEXT, "name in the archive"),
        Column("Instance ID", Kind.TEXT, "of the project; one sperm"),
        *parts,
        column("Total Length", Power.LENGTH, "sum of the parts that are there", scale),
    )


def _sperm_rows(subject: Subject) -> Iterator[tuple[Values, ...] | None]:
    lines = [line for line in subject.annotation.polylines if line.instance_id]
    subject.omissions.anonymous += len(subject.annotation.polylines) - len(lines)
    places = {name: i for i, name in enumerate(dict.fromkeys(line.instance_id for line in lines))}
    found = np.zeros((len(places), len(PARTS)))
    present = np.zeros(found.shape, bool)
    for some in batches(lines, ROWS):
        yield None
        for line, length in zip(some, _lengths(some).tolist(), strict=True):
            if line.part_class in PARTS:
                cell = places[line.instance_id], PARTS.index(line.part_class)
                found[cell] += length
                present[cell] = True
            else:
                subject.omissions.partless += 1
    total = np.where(present.any(axis=1), found.sum(axis=1), np.nan)
    table = scaled(np.column_stack([np.where(present, found, np.nan), total]), Power.LENGTH, subject.scale)
    for rows in batches(enumerate(places), ROWS):
        begin, end = rows[0][0], rows[-1][0] + 1
        yield ([subject.image.name] * len(rows), [name for _, name in rows], *table[begin:end].T)


SPERM_METRICS = Sheet("Sperm Metrics", "metrics", _sperm_columns, _sperm_rows)


# --- microtubules -------------------------------------------------------------------------------------------------------


def _microtubule_columns(options: ExportOptions) -> tuple[Column, ...]:
    return (
        Column("Video", Kind.TEXT, "id of the video that the frame is of; empty for a single image"),
        Column("Frame", Kind.INTEGER, "its place in the video, as the project counts"),
        Column("Image Name", Kind.TEXT, "name in the archive"),
        Column("Instance", Kind.TEXT, "instance of the project, else track, else the polyline itself"),
        Column("Label", Kind.TEXT, "MT1, MT2, ... by first occurrence in the image, as on the overlay"),
        column("Length", Power.LENGTH, "length of the polyline", options.pixel_to_micrometer_scale),
        Column("Track ID", Kind.TEXT, "of the project; the same microtubule in other frames"),
    )


def _microtubule_rows(subject: Subject) -> Iterator[tuple[Values, ...] | None]:
    image, lines = subject.image, subject.annotation.polylines
    for some in batches(zip(lines, labels(MICROTUBULES, lines), strict=True), ROWS):
        count = len(some)
        yield (
            [image.parent_video_id] * count,
            [image.frame_index] * count,
            [image.name] * count,
            [instance_of(line) or line.id for line, _ in some],
            [label for _, label in some],
            scaled(_lengths([line for line, _ in some]), Power.LENGTH, subject.scale),
            [line.track_id for line, _ in some],
        )


MICROTUBULE_METRICS = Sheet("Microtubule Metrics", "metrics", _microtubule_columns, _microtubule_rows)
