"""`documentation/`: a README that describes just what is in this archive, and metadata as the project's own rows tell it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import orjson

import exportd
from exportd.core.dataset import Dataset, Project
from exportd.core.job import wire_time
from exportd.core.options import ExportOptions
from exportd.formats.classes import CLASSES
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.table import FormatRow

METADATA_VERSION = 1
"""Of the layout of `metadata.json`."""

WITH_CLASSES = frozenset({"coco", "yolo"})
"""Formats whose classes are numbers."""


def documentation(
    dataset: Dataset, options: ExportOptions, written: Sequence[FormatRow], warnings: Sequence[str]
) -> Generator[Member, None, None]:
    """The last exporter: `written` are the formats that are really in the archive, `warnings` all that is known by now.

    The objects are counted in one walk, with a `Tick` per image.
    """
    readme = "\n".join(_readme(dataset, options, written, warnings)) + "\n"
    yield Member("documentation/README.md", [readme.encode()], "text/markdown; charset=utf-8")
    yield Member("documentation/metadata.json", _metadata(dataset, options, written), "application/json")


# --- README -------------------------------------------------------------------------------------------------------------


def _readme(
    dataset: Dataset, options: ExportOptions, written: Sequence[FormatRow], warnings: Sequence[str]
) -> Iterator[str]:
    skipped = len(dataset.notes.skipped)
    yield f"# {_plain(dataset.project.title)}"
    yield ""
    yield f"{_images(len(dataset.images))} of a project of type `{_plain(dataset.project.type)}`, exported by exportd."
    if skipped:
        yield f"{_images(skipped)} could not be exported; `export_report.json` tells which, and why."
    yield from _contents(options, written)
    yield from _conventions(options)
    if any(row.id in WITH_CLASSES for row in written):
        yield from _classes(written)
    if warnings:
        yield from ["", "## Warnings", ""]
        yield from (f"- {_plain(warning)}" for warning in warnings)


def _contents(options: ExportOptions, written: Sequence[FormatRow]) -> Iterator[str]:
    yield from ["", "## Contents", "", "| where | what |", "|---|---|"]
    if options.include_original_images:
        yield "| `images/` | the original images, bit for bit |"
    for row in written:
        yield f"| {', '.join(f'`{place}`' for place in row.places)} | {row.name}: {row.description} |"
    yield "| `documentation/` | this page; `metadata.json`: project, options and counts |"
    yield "| `export_report.json` | what was skipped or renamed, and all warnings |"
    yield "| `manifest.json`, `SHA256SUMS` | every file with its size and checksum |"
    yield ""
    yield "`sha256sum --check SHA256SUMS` checks the files where they were unpacked."


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


def _classes(written: Sequence[FormatRow]) -> Iterator[str]:
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
    if any(row.id == "yolo" for row in written):
        yield from ["", "`data.yaml` names all images as training and as validation images: divide them as you need."]


def _images(count: int) -> str:
    return f"{count} image{'s' if count != 1 else ''}"


def _plain(text: str) -> str:
    """Text of others on one line, without the characters that Markdown would take for its own."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in " ".join(text.split()))


# --- metadata.json ------------------------------------------------------------------------------------------------------


def _metadata(dataset: Dataset, options: ExportOptions, written: Sequence[FormatRow]) -> Iterator[bytes | Tick | Warn]:
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
        "formats": [row.id for row in written],
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
