"""The papers of an archive held against what is in it: `manifest.json`, `SHA256SUMS`, the report's warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exportd.errors import ImportFailed
from exportd.store.jsonstream import walk_text
from exportd.verifying.container import Contents, Sum, lines
from exportd.verifying.findings import Damaged, Findings

MANIFEST, SUMS, REPORT, METADATA = "manifest.json", "SHA256SUMS", "export_report.json", "documentation/metadata.json"

MANIFEST_VERSION = 1

LONGEST = 64 << 20
"""Characters of one value; the largest are the polygons of one image."""

SMALL = 64 << 20
"""Bytes of a paper that is read as a whole."""

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


def items(contents: Contents, path: str, *lists: str) -> Iterator[tuple[str, object]]:
    """Members of a JSON object, those of `lists` item by item. Raises `Damaged`."""
    with contents.text(path) as text:
        try:
            yield from walk_text(text, path.rpartition("/")[2], lists, set(), LONGEST)
        except ImportFailed as error:
            raise Damaged(path, str(error)) from None


def whole(contents: Contents, path: str) -> dict[str, object]:
    """A small JSON object. Raises `Damaged`."""
    found = contents.sums.get(path)
    if found is not None and found.size > SMALL:
        raise Damaged(path, "it is larger than such a paper can be")
    with contents.binary(path) as member:
        try:
            value = json.loads(member.read())
        except (ValueError, RecursionError):
            raise Damaged(path, "it is no JSON") from None
    if not isinstance(value, dict):
        raise Damaged(path, "it is no JSON object")
    return value


def check_papers(contents: Contents, findings: Findings) -> None:
    """Manifest and sums: every member but these two, nothing else, and all as it is."""
    for path, read in ((MANIFEST, _manifest), (SUMS, _sums)):
        if path not in contents.names:
            findings.fault(path, "it is missing")
            continue
        try:
            _compare(path, read, contents, findings)
        except Damaged as damage:
            findings.fault(*damage.fault)


def _compare(
    path: str, read: Callable[[Contents], Iterator[tuple[str, Sum]]], contents: Contents, findings: Findings
) -> None:
    listed: set[str] = set()
    for name, told in read(contents):
        if name in listed:
            findings.fault(path, f"it lists {name} twice")
        listed.add(name)
        if name not in contents.names:
            findings.fault(name, f"{path} lists it, but it is not in the archive")
        elif (found := contents.sums.get(name)) is not None:
            if found.sha256 != told.sha256:
                findings.fault(name, f"its SHA-256 is not that of {path}")
            if told.size not in (-1, found.size):
                findings.fault(name, f"it has {found.size} bytes, {path} says {told.size}")
    for name in sorted(contents.names - listed - {MANIFEST, SUMS}):
        findings.fault(name, f"{path} does not list it")
    findings.checked(f"{path} lists all {len(listed)} other files with their sums.")


def _manifest(contents: Contents) -> Iterator[tuple[str, Sum]]:
    version = None
    for key, value in items(contents, MANIFEST, "members"):
        if key == "version":
            version = value
        if key != "members":
            continue
        match value:
            case {"path": str(path), "size": int(size), "sha256": str(sha256)}:
                yield path, Sum(size, sha256)
            case _:
                raise Damaged(MANIFEST, "a row lacks its path, size or SHA-256")
    if version != MANIFEST_VERSION:
        raise Damaged(MANIFEST, f"its version is {version!r}; this exportd knows {MANIFEST_VERSION}")


def _sums(contents: Contents) -> Iterator[tuple[str, Sum]]:
    with contents.text(SUMS) as text:
        for line in lines(text, SUMS, 1 << 16):
            if (row := _SUM.fullmatch(line)) is None:
                raise Damaged(SUMS, "a line is no SHA-256 and name")
            yield row[2], Sum(-1, row[1])


# --- what the report tells of losses ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """The warnings of an archive's report."""

    warnings: tuple[str, ...] = ()

    def objects(self, format_name: str) -> int:
        """Objects that this format is told to have left out."""
        return self._count(format_name, r"(\d+) (?:polygon|object)s? (?:is|are|has|have) (?:left out|no pixel)")

    def images(self, format_name: str) -> int:
        """Images that this format is told to have left out."""
        return self._count(format_name, r"(\d+) images?\b.*\b(?:left out|has none|have none)\b")

    def _count(self, format_name: str, pattern: str) -> int:
        found = (re.match(f"{re.escape(format_name)}: {pattern}", warning) for warning in self.warnings)
        return sum(int(match[1]) for match in found if match)


def told(contents: Contents, findings: Findings) -> Told:
    """Nothing where the report cannot be read, which is a fault then."""
    try:
        if REPORT not in contents.names:
            raise Damaged(REPORT, "it is missing")
        warnings = whole(contents, REPORT).get("warnings")
        if not isinstance(warnings, list) or not all(isinstance(warning, str) for warning in warnings):
            raise Damaged(REPORT, "it has no list of warnings")
    except Damaged as damage:
        findings.fault(*damage.fault)
        return Told()
    findings.checked(f"{REPORT} tells of {len(warnings)} warnings.")
    return Told(tuple(warnings))


def counts(contents: Contents, findings: Findings) -> tuple[int, int] | None:
    """Images and polygons of the whole export, where the documentation tells them."""
    if METADATA not in contents.sums:
        return None
    try:
        match whole(contents, METADATA).get("counts"):
            case {"images": int(images), "polygons": int(polygons)}:
                return images, polygons
        raise Damaged(METADATA, "it has no counts")
    except Damaged as damage:
        findings.fault(*damage.fault)
        return None
