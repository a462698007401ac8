"""croissant.json, read back with mlcroissant 1.1.1."""

from __future__ import annotations

import hashlib
import json
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

from exportd.core.dataset import Annotation, Image, MemoryDataset, Notes, Polygon, Project
from exportd.core.options import ExportOptions
from exportd.formats.coco import coco
from exportd.formats.croissant import croissant
from exportd.formats.member import Exporter, Member
from exportd.formats.plain_json import plain_json
from exportd.formats.tabular import Column, Kind, Table
from exportd.formats.yolo import yolo
from exportd.formats.zipping import Entry

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SQUARE = np.array([(1.0, 1.0), (9, 1), (9, 9), (1, 9)])
FORMATS: dict[str, Exporter] = {"coco": coco, "yolo": yolo, "json": plain_json}
TABLE = Table(
    "Polygon Metrics",
    "metrics",
    (Column("Image Name", Kind.TEXT), Column("Polygon ID", Kind.INTEGER), Column("Area (px²)", meaning="A")),
    summarised=True,
)
CSV = "Image Name,Polygon ID,Area (px²)\r\n0.png,1,64\r\n0.png,2,\r\n"


def dataset(title: str = "Cells", images: int = 2) -> MemoryDataset:
    rows = tuple(Image(f"i{n}", f"{n}.png", f"{n}.png", 20, 20, "image/png", 1) for n in range(images))
    objects = Annotation((Polygon("a", 1, SQUARE), Polygon("b", 2, SQUARE + 5)), segmented=True)
    notes = Notes(newest_change=datetime(2026, 1, 31, 12, tzinfo=UTC))
    return MemoryDataset(Project("p", title, "spheroid", "u"), rows, {"i0": objects}, notes)


def unpack(folder: Path, project: MemoryDataset, formats: list[str], *, originals: bool, csv: bool = False) -> Path:
    """An archive with these formats as it lies where it was unpacked; the path of its croissant.json."""
    entries = []

    def put(path: str, content: bytes, media_type: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        entries.append(Entry(path, 0, 0, len(content), sha256, 0, 0, False, media_type, None, None))

    if originals:
        for image in project.images:
            (folder / "images").mkdir(exist_ok=True)
            Picture.new("L", (20, 20)).save(folder / "images" / image.name)
            put(f"images/{image.name}", (folder / "images" / image.name).read_bytes(), "image/png")
    for name in formats:
        for member in FORMATS[name](project, ExportOptions(include_documentation=True)):
            if isinstance(member, Member):
                put(member.path, body(member), member.media_type)
    if csv:
        put("metrics/metrics.csv", CSV.encode(), "text/csv; charset=utf-8; header=present")
    (folder / "croissant.json").write_bytes(body(croissant(project, entries, (TABLE,) if csv else ())))
    return folder / "croissant.json"


def body(member: Member) -> bytes:
    return b"".join(chunk for chunk in member.chunks if isinstance(chunk, bytes))


def load(path: Path) -> mlcroissant.Dataset:
    loaded = mlcroissant.Dataset(jsonld=path)
    assert not loaded.metadata.issues.errors
    return loaded


def records(loaded: mlcroissant.Dataset, name: str) -> list[dict[str, Any]]:
    return [{k.partition("/")[2]: v for k, v in record.items()} for record in loaded.records(name)]


def test_what_is_in_the_archive_can_be_read_by_it(tmp_path: Path) -> None:
    loaded = load(unpack(tmp_path, dataset(), ["coco", "yolo", "json"], originals=True, csv=True))
    assert loaded.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"
    objects = records(loaded, "objects")
    assert [(o["id"], o["image_id"], o["area"]) for o in objects] == [(1, 1, 64.0), (2, 1, 64.0)]
    assert list(objects[1]["bbox"]) == [6, 6, 8, 8]
    images = records(loaded, "images")
    assert [(i["id"], i["file_name"], i["width"]) for i in images] == [(1, b"0.png", 20), (2, b"1.png", 20)]
    pictures = records(loaded, "pictures")
    assert sorted(p["filename"] for p in pictures) == [b"0.png", b"1.png"]
    assert {p["content"].size for p in pictures} == {(20, 20)}
    rows = records(loaded, "metrics-metrics")
    assert [(r["c1"], r["c2"]) for r in rows] == [(b"0.png", 1), (b"0.png", 2)]
    assert rows[0]["c3"] == 64
    assert pd.isna(rows[1]["c3"])


@pytest.mark.parametrize("formats", [[], ["coco"], ["yolo"], ["json"]])
@pytest.mark.parametrize("originals", [False, True])
def test_an_archive_with_some_formats_loads(tmp_path: Path, formats: list[str], originals: bool) -> None:
    path = unpack(tmp_path, dataset(), formats, originals=originals)
    loaded = load(path)
    expected = {"coco": {"images", "objects"}, "json": {"images"}}.get("".join(formats), set())
    assert {s.id for s in loaded.metadata.record_sets} == expected | ({"pictures"} if originals else set())
    for record_set in loaded.metadata.record_sets:
        assert len(records(loaded, record_set.id)) == 2


@pytest.mark.parametrize(
    "title", ["", " \n ", "🔬 cells", 'a "quoted" \\ title', "https://x.y/z", "@id", "-1", "x" * 300]
)
def test_odd_titles_load(tmp_path: Path, title: str) -> None:
    loaded = load(unpack(tmp_path, dataset(title), ["coco"], originals=False))
    assert loaded.metadata.name == (title.strip() or "Untitled project")


def test_the_document_does_not_grow_with_the_project(tmp_path: Path) -> None:
    sizes = []
    for images in (1, 2000):
        entries = [
            Entry(f"{folder}{n}.{ending}", 0, 0, 1, "0" * 64, 0, 0, False, media_type, None, None)
            for folder, ending, media_type in (
                ("images/", "png", "image/png"),
                ("labels/", "txt", "text/plain; charset=utf-8"),
                ("annotations/labels/", "tif", "image/tiff"),
            )
            for n in range(images)
        ]
        sizes.append(len(body(croissant(dataset(images=images), entries))))
    assert sizes[1] - sizes[0] < 50


def test_times_are_those_of_the_project_and_the_sums_those_of_the_files(tmp_path: Path) -> None:
    document = json.loads(unpack(tmp_path, dataset(), ["json"], originals=False).read_bytes())
    assert (document["dateModified"], document["datePublished"]) == ("2026-01-31", "2026-01-31")
    (file,) = document["distribution"]
    content = (tmp_path / file["contentUrl"]).read_bytes()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert file["contentSize"] == f"{len(content)} B"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = unpack(tmp_path / "again", dataset(), ["json"], originals=False)
    assert again.read_bytes() == (tmp_path / "croissant.json").read_bytes()
