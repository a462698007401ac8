"""`documentation/`: a README that describes just what is in this archive, and metadata as the project's own rows tell it."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import orjson

import exportd
from exportd.core.dataset import Dataset
from exportd.core.job import wire_time
from exportd.core.options import ExportOptions
from exportd.formats.member import Member
from exportd.formats.table import FormatRow

PLACES = {
    "coco": "annotations/coco/annotations.json",
    "yolo": "labels/, data.yaml, classes.txt",
    "json": "annotations/json/segmentation_data.json",
}
"""Where each format's members are."""


def documentation(
    dataset: Dataset, options: ExportOptions, rows: Sequence[FormatRow], warnings: Sequence[str]
) -> Generator[Member, None, None]:
    """`rows` are the formats that are really in the archive."""
    readme = "\n".join(_readme(dataset, options, rows, warnings)) + "\n"
    yield Member("documentation/README.md", [readme.encode()], "text/markdown; charset=utf-8")
    metadata = orjson.dumps(_metadata(dataset, options), option=orjson.OPT_INDENT_2) + b"\n"
    yield Member("documentation/metadata.json", [metadata], "application/json")


def _readme(dataset: Dataset, options: ExportOptions, rows: Sequence[FormatRow], warnings: Sequence[str]) -> list[str]:
    project, count = dataset.project, len(dataset.images)
    lines = [f"# {_plain(project.title)}", "", f"{count} image{'s' if count != 1 else ''}, exported by exportd.", ""]
    lines += ["| where | what |", "|---|---|"]
    if options.include_original_images:
        lines.append("| images/ | the original images, bit for bit |")
    lines += [f"| {PLACES[row.id]} | {row.name}: {row.description} |" for row in rows]
    lines += [
        "| documentation/ | this page; metadata.json: project, options and counts |",
        "| export_report.json | what was skipped or renamed, and all warnings |",
        "| manifest.json, SHA256SUMS | every file with its size and checksum |",
        "",
        "Every format calls an image by its name in this archive. Coordinates are pixels from the top left corner of the",
        "top left pixel, x to the right, y down.",
    ]
    if options.include_original_images:
        lines += ["", "Check the files with `sha256sum --check SHA256SUMS`."]
    if options.pixel_to_micrometer_scale is not None:
        lines += ["", f"Scale: {options.pixel_to_micrometer_scale:g} µm per pixel."]
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {_plain(warning)}" for warning in warnings)]
    return lines


def _plain(text: str) -> str:
    """Text of others on one line, without the characters that Markdown would take for its own."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in " ".join(text.split()))


def _metadata(dataset: Dataset, options: ExportOptions) -> dict[str, object]:
    project = dataset.project
    return {
        "exportd": exportd.__version__,
        "project": {
            "id": project.id,
            "title": project.title,
            "type": project.type,
            "ownerId": project.owner_id,
            "createdAt": wire_time(project.created_at),
            "updatedAt": wire_time(project.updated_at),
        },
        "options": options.model_dump(mode="json", by_alias=True),
        "images": len(dataset.images),
        "skipped": len(dataset.notes.skipped),
        "newestChange": wire_time(dataset.notes.newest_change),
    }
