"""The papers of an archive: every member with its sum, and what is not there, and why."""

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from exportd.core.dataset import Image, MemoryDataset, Notes, Project, Repair, Skipped
from exportd.formats.manifest import export_report, manifest, sums
from exportd.formats.member import Member
from exportd.formats.zipping import Entry

NAMES = ("images/a.png", "images/b c – 日本.png", "labels/a.txt")


def body(member: Member) -> bytes:
    return b"".join(chunk for chunk in member.chunks if isinstance(chunk, bytes))


def entry(path: str, content: bytes = b"", source: str | None = None) -> Entry:
    return Entry(
        path=path,
        crc=0,
        compressed=len(content),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        method=0,
        flags=0,
        zip64=False,
        media_type="image/png",
        source_image_id=source,
        original_name=source and f"{source}.png",
    )


def test_the_sums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    member = sums([entry(name, name.encode()) for name in NAMES])
    assert member.path == "SHA256SUMS"
    (tmp_path / member.path).write_bytes(body(member))
    checked = subprocess.run(["sha256sum", "--check", "--strict", member.path], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_the_manifest_tells_of_each_member_where_it_comes_from() -> None:
    member = manifest([entry("images/a.png", b"abc", "a"), entry("data.yaml")])
    assert member.path == "manifest.json"
    one, two = orjson.loads(body(member))["members"]
    assert one == {
        "path": "images/a.png",
        "size": 3,
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "mediaType": "image/png",
        "sourceImageId": "a",
        "originalName": "a.png",
    }
    assert (two["size"], two["sourceImageId"], two["originalName"]) == (0, None, None)


def test_an_archive_without_members_has_papers_too() -> None:
    assert orjson.loads(body(manifest([])))["members"] == []
    assert body(sums([])) == b""


def test_a_hundred_thousand_members_are_many_chunks() -> None:
    entries = [entry(f"images/{n}.png") for n in range(100_000)]
    for paper in (manifest, sums):
        chunks = list(paper(entries).chunks)
        assert 10 < len(chunks) < 2000
        assert max(len(chunk) for chunk in chunks if isinstance(chunk, bytes)) < 1 << 20


def test_the_report_tells_what_is_not_as_it_was() -> None:
    images = tuple(
        Image(name, name, original, 1, 1, "image/png", 1)
        for name, original in (("a.png", "a.png"), ("a (2).png", "a.png"))
    )
    notes = Notes(
        (Skipped("x", "x.png", "the file is missing"),),
        (),
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        repaired=(Repair("a.png", "a.png", ("1 polygon has fewer than three points",)),),
    )
    dataset = MemoryDataset(Project("p", "Title", "spheroid", "u"), images, notes=notes)
    report = orjson.loads(body(export_report(dataset, ["one", "two"])))
    assert report["skipped"] == [{"imageId": "x", "originalName": "x.png", "reason": "the file is missing"}]
    assert report["renamed"] == [{"imageId": "a (2).png", "originalName": "a.png", "name": "a (2).png"}]
    assert report["repaired"] == [
        {"imageId": "a.png", "originalName": "a.png", "sentences": ["1 polygon has fewer than three points"]}
    ]
    assert report["warnings"] == ["one", "two"]
    assert report["versions"]["numpy"] == np.__version__
    assert report["newestChange"] == "2026-01-31T12:00:00.000Z"
