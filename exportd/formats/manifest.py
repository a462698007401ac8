"""The papers of an archive: what is in it, with which sums, and what is not, and why. No clock, so same input, same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

import exportd
from exportd.core.dataset import Dataset
from exportd.core.job import wire_time
from exportd.formats.member import Member
from exportd.formats.versions import versions
from exportd.formats.zipping import Entry

MANIFEST_VERSION = 1
"""Of the layout of `manifest.json` and `export_report.json`."""

CHUNK_LINES = 500
"""Entries to a chunk, so that a hundred thousand of them are no one string."""


def manifest(entries: Iterable[Entry]) -> Member:
    """`manifest.json`: every member but itself and the sums, with path, size, SHA-256, media type and source image."""
    return Member("manifest.json", _joined(_manifest_lines(entries)), "application/json")


def _manifest_lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    yield b'{"version":%d,"members":[\n' % MANIFEST_VERSION
    for i, entry in enumerate(entries):
        row = {
            "path": entry.path,
            "size": entry.size,
            "sha256": entry.sha256,
            "mediaType": entry.media_type,
            "sourceImageId": entry.source_image_id,
            "originalName": entry.original_name,
        }
        yield (b",\n" if i else b"") + orjson.dumps(row)
    yield b"\n]}\n"


def sums(entries: Iterable[Entry]) -> Member:
    """`SHA256SUMS` as `sha256sum --check` reads it."""
    return Member("SHA256SUMS", _joined(_sum_line(entry) for entry in entries), "text/plain; charset=utf-8")


def _sum_line(entry: Entry) -> bytes:
    return f"{entry.sha256}  {entry.path}\n".encode()


def export_report(dataset: Dataset, warnings: Sequence[str]) -> Member:
    """`export_report.json`: what was skipped, repaired, renamed or warned of, versions, the project's newest change."""
    report = {
        "version": MANIFEST_VERSION,
        "exportd": exportd.__version__,
        "versions": versions(),
        "newestChange": wire_time(dataset.notes.newest_change),
        "skipped": [
            {"imageId": s.image_id, "originalName": s.original_name, "reason": s.reason} for s in dataset.notes.skipped
        ],
        "repaired": [
            {"imageId": r.image_id, "originalName": r.original_name, "sentences": list(r.sentences)}
            for r in dataset.notes.repaired
        ],
        "renamed": [
            {"imageId": image.id, "originalName": image.original_name, "name": image.name}
            for image in dataset.images
            if image.name != image.original_name
        ],
        "warnings": list(warnings),
    }
    return Member("export_report.json", [orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n"], "application/json")


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    chunk: list[bytes] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) >= CHUNK_LINES:
            yield b"".join(chunk)
            chunk.clear()
    yield b"".join(chunk)
