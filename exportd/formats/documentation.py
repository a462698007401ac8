"""`documentation/`: a README that describes just what is in this archive, and metadata as the project's own rows tell it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import orjson

import exportd
from exportd.core.dataset import Dataset, Project
from exportd.core.job import wire_time
from exportd.core.options import ExportOptions
from exportd.formats.classes import CLASSES
from exportd.formats.guide import metrics_guide, plain
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.table import Row
from exportd.formats.tabular import Table
from exportd.formats.wound_chart import PATH as CHART

METADATA_VERSION = 1
"""Of the layout of `metadata.json`."""

WITH_CLASSES = frozenset({"coco", "yolo"})
"""Formats whose classes are numbers."""


@dataclass(frozen=True, slots=True)
class Written:
    """What is really in the archive."""

    annotations: Sequence[Row] = ()
    metrics: Sequence[Row] = ()
    tables: Sequence[Table] = ()
    """Of the metrics, without the summary."""
    visualizations: bool = False
    chart: bool = False
    """Whether the healing of the wound is drawn."""

    @property
    def classes(self) -> bool:
        """Whether something has numbers for classes."""
        return any(row.id in WITH_CLASSES for row in self.annotations)


def documentation(
    dataset: Dataset, options: ExportOptions, written: Written, warnings: Sequence[str]
) -> Generator[Member, None, None]:
    """The last exporter: `written` is what is really in the archive, `warnings` all that is known by now.

    The objects are counted in one walk, with a `Tick` per image.
    """
    readme = "\n".join(_readme(dataset, options, written, warnings)) + "\n"
    yield Member("documentation/README.md", [readme.encode()], "text/markdown; charset=utf-8")
    yield Member("documentation/metadata.json", _metadata(dataset, options, written), "application/json")
    if written.metrics:
        yield metrics_guide(written.tables, options.pixel_to_micrometer_scale)


# --- README -------------------------------------------------------------------------------------------------------------


def _readme(dataset: Dataset, options: ExportOptions, written: Written, warnings: Sequence[str]) -> Iterator[str]:
    skipped = len(dataset.notes.skipped)
    yield f"# {plain(dataset.project.title) or 'Untitled project'}"
    yield ""
    yield f"{_images(len(dataset.images))} of a project of type `{plain(dataset.project.type)}`, exported by exportd."
    if skipped:
        yield f"{_images(skipped)} could not be exported; `export_report.json` tells which, and why."
    yield from _contents(options, written)
    yield from _conventions(options)
    if written.classes:
        yield from _classes(written)
    if warnings:
        yield from ["", "## Warnings", ""]
        yield from (f"- {plain(warning)}" for warning in warnings)


def _contents(options: ExportOptions, written: Written) -> Iterator[str]:
    yield from ["", "## Contents", "", "| where | what |", "|---|---|"]
    if options.include_original_images:
        yield "| `images/` | the original images, bit for bit |"
    if written.visualizations:
        yield f"| `visualizations/` | {_overlay(options)} |"
    for row in written.annotations:
        yield f"| {_places(row)} | {row.name}: {row.description} |"
    for row in written.metrics:
        yield f"| {_places(row)} | Metrics as {row.name}: {row.description} |"
    if written.chart:
        yield f"| `{CHART}` | the area of the wound in percent of the image, from image to image |"
    yield f"| `documentation/` | {_pages(written)} |"
    yield "| `croissant.json` | this archive as a data set in Croissant 1.1, for the loaders of machine learning |"
    yield "| `export_report.json` | what was skipped, repaired or renamed, all warnings, and versions |"
    yield "| `manifest.json`, `SHA256SUMS` | every file with its size and checksum |"
    yield ""
    yield "`sha256sum --check SHA256SUMS` checks the files where they were unpacked; `exportd verify` checks the ZIP itself,"
    yield "and that the formats tell of the same images and objects."


def _places(row: Row) -> str:
    return ", ".join(f"`{place}`" for place in row.places)


def _overlay(options: ExportOptions) -> str:
    numbers = " and numbers" if options.visualization_options.show_numbers else ""
    return f"a PNG per image, `<stem>_viz.png`, with the objects{numbers} drawn over it"


def _pages(written: Written) -> str:
    guide = "; `metrics_guide.md`: what each column of the metrics is" if written.metrics else ""
    return f"this page; `metadata.json`: project, options and counts{guide}"


def _conventions(options: ExportOptions) -> Iterator[str]:
    yield from [
        "",
        "## Conventions",
        "",
        "Every format calls an image by its name in this archive, which may differ from its name in the project:",
        "`export_report.json` lists those that were renamed. Objects are numbered 1, 2, ... within their image, the same in",
        "every format. Coordinates are pixels from the top left corner of the top left pixel, x to the right, y down.",
        "",
        "A hole belongs to the smallest object that contains 99 % of its area and is more than 1.05 times as large.",
    ]
    if options.pixel_to_micrometer_scale is not None:
        yield from ["", f"Scale: {options.pixel_to_micrometer_scale!r} µm per pixel."]


def _classes(written: Written) -> Iterator[str]:
    yield from [
        "",
        "## Classes",
        "",
        "The numbers are the same in every export.",
        "",
        "| class | COCO | YOLO |",
        "|---|---|---|",
    ]
    for index, row in enumerate(CLASSES):
        yield f"| {row.name} | {index + 1} | {index} |"
    if any(row.id == "yolo" for row in written.annotations):
        yield from ["", "`data.yaml` names all images as training and as validation images: divide them as you need."]


def _images(count: int) -> str:
    return f"{count} image{'s' if count != 1 else ''}"


# --- metadata.json ------------------------------------------------------------------------------------------------------


def _metadata(dataset: Dataset, options: ExportOptions, written: Written) -> Iterator[bytes | Tick | Warn]:
    counts = dict.fromkeys(("segmentedImages", "polygons", "holes", "polylines"), 0)
    for image, annotation in dataset.annotated():
        counts["segmentedImages"] += annotation.segmented
        counts["polygons"] += len(annotation.polygons)
        counts["holes"] += sum(len(polygon.holes) for polygon in annotation.polygons)
        counts["polylines"] += len(annotation.polylines)
        yield Tick(image.name)
    metadata = {
        "version": METADATA_VERSION,
        "exportd": exportd.__version__,
        "project": _project(dataset.project),
        "newestChange": wire_time(dataset.notes.newest_change),
        "options": options.model_dump(mode="json", by_alias=True),
        "formats": [row.id for row in written.annotations],
        "metrics": [row.id for row in written.metrics],
        "counts": {"images": len(dataset.images), "skippedImages": len(dataset.notes.skipped), **counts},
    }
    yield orjson.dumps(metadata, option=orjson.OPT_INDENT_2) + b"\n"


def _project(project: Project) -> dict[str, object]:
    return {
        "id": project.id,
        "title": project.title,
        "type": project.type,
        "ownerId": project.owner_id,
        "createdAt": wire_time(project.created_at),
        "updatedAt": wire_time(project.updated_at),
    }
