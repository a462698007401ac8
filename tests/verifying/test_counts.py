"""Each format's objects are counted as outside writers write them: roifile 2026.2.10, pyarrow 25.0.1, XlsxWriter 3.3.1."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import roifile
import xlsxwriter

from exportd.verifying.agreement import Agreement
from exportd.verifying.container import Contents, sums_of
from exportd.verifying.counts import FORMATS
from exportd.verifying.findings import Findings
from exportd.verifying.papers import Told

SQUARE = [[0, 0], [9, 0], [9, 9], [0, 0]]
COUNTS = {"a": 2, "b": 0, "=c": 3}
"""Objects by image; the last of c is flagged as incomplete."""


def objects() -> dict[str, list[dict[str, Any]]]:
    return {stem: [{"number": n, "complete": n < 3} for n in range(1, count + 1)] for stem, count in COUNTS.items()}


def plain(files: dict[str, bytes]) -> None:
    images = [{"name": f"{stem}.png", "polygons": rows} for stem, rows in objects().items()]
    files["annotations/json/segmentation_data.json"] = json.dumps({"images": images}).encode()


def geojson(files: dict[str, bytes]) -> None:
    for stem, rows in objects().items():
        features: list[dict[str, Any]] = [
            {"geometry": {"type": "Polygon", "coordinates": [SQUARE]}, "properties": row} for row in rows
        ]
        features += [{"geometry": {"type": "LineString", "coordinates": SQUARE}, "properties": {}}]
        collection = {"type": "FeatureCollection", "features": features}
        files[f"annotations/geojson/{stem}.geojson"] = json.dumps(collection).encode()


def labelme(files: dict[str, bytes]) -> None:
    for stem, rows in objects().items():
        shapes: list[dict[str, Any]] = [{"shape_type": "polygon", "group_id": row["number"], **row} for row in rows]
        shapes += shapes[:1]  # a second piece of the first object
        shapes += [{"shape_type": "linestrip", "group_id": None}]
        files[f"annotations/labelme/{stem}.json"] = json.dumps({"shapes": shapes, "imagePath": "x"}).encode()


def cvat(files: dict[str, bytes]) -> None:
    images = "".join(
        f'<image id="{n}" name="{stem}.png">'
        + "".join('<polygon points="0,0"/>' if row["number"] % 2 else '<mask rle="1"/>' for row in rows)
        + '<polyline points="0,0"/></image>'
        for n, (stem, rows) in enumerate(objects().items())
    )
    files["annotations/cvat/annotations.xml"] = f"<annotations><meta/>{images}</annotations>".encode()


def imagej(files: dict[str, bytes]) -> None:
    for stem, count in COUNTS.items():
        if count:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as rois:
                for n in range(count + 1):
                    roi = roifile.ImagejRoi.frompoints(np.array(SQUARE, np.float32))
                    roi.roitype = roifile.ROI_TYPE.POLYGON if n < count else roifile.ROI_TYPE.POLYLINE
                    rois.writestr(f"{n}.roi", roi.tobytes())
            files[f"annotations/imagej/{stem}_RoiSet.zip"] = file.getvalue()


def rows() -> list[tuple[str, int, float | None]]:
    return [(f"{stem}.png", r["number"], None) for stem, found in objects().items() for r in found if r["complete"]]


HEADS = ("Image Name", "Polygon ID", "Area (px²)")


def metrics(files: dict[str, bytes]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([HEADS, *(("'" + row[0] if row[0][0] == "=" else row[0], *row[1:]) for row in rows())])
    files["metrics/metrics.csv"] = text.getvalue().encode()
    head = {"name": "Polygon Metrics", "file": "metrics", "columns": [{"name": name} for name in HEADS]}
    records = ",\n".join(json.dumps(dict(zip(HEADS, row, strict=True))) for row in rows())
    document = '{"format":"exportd metrics","version":1,"tables":[\n' + json.dumps(head)[:-1] + ',"rows":[\n' + records
    files["metrics/metrics.json"] = (document + "\n]}\n]}\n").encode()
    file = io.BytesIO()
    columns = {name: [row[place] for row in rows()] for place, name in enumerate(HEADS)}
    pq.write_table(pa.table(columns), file)
    files["metrics/metrics.parquet"] = file.getvalue()
    book = io.BytesIO()
    with xlsxwriter.Workbook(book, {"in_memory": True}) as workbook:
        sheet = workbook.add_worksheet("Polygon Metrics")
        for number, row in enumerate([HEADS, *rows()]):
            for place, value in enumerate(row):
                sheet.write_string(number, place, str(value))
        workbook.add_worksheet("Summary").write_row(0, 0, ["x"])
    files["metrics/metrics.xlsx"] = book.getvalue()


WRITERS = (plain, geojson, labelme, cvat, imagej, metrics)


def check(path: Path, files: dict[str, bytes], *warnings: str) -> list[str]:
    """What is said against these files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    findings = Findings()
    with zipfile.ZipFile(path) as archive:
        contents = Contents(archive, sums_of(archive, Findings()))
        Agreement(contents, Told(warnings), findings).check(None)
    return [f"{place}: {sentence}" for place, sentence in findings.faults]


@pytest.fixture
def files() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for write in WRITERS:
        write(found)
    return found


def test_formats_that_tell_the_same_agree(files: dict[str, bytes], tmp_path: Path) -> None:
    assert check(tmp_path / "x.zip", files) == []


@pytest.mark.parametrize("write", WRITERS[1:5])
def test_each_format_is_counted(write: Callable[[dict[str, bytes]], None], tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    write(files)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        contents = Contents(archive, sums_of(archive, Findings()))
        (row,) = [row for row in FORMATS if row.is_in(contents)]
        counts = {count.image.removesuffix(".png"): count.objects for count in row.read(contents)}
    assert counts == {stem: count for stem, count in COUNTS.items() if count or not row.sparse}


def replaced(path: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], object]:
    def apply(files: dict[str, bytes]) -> None:
        assert old in files[path]
        files[path] = files[path].replace(old, new, 1)

    return apply


def without_a_roi(files: dict[str, bytes]) -> None:
    files.pop("annotations/imagej/a_RoiSet.zip")


def without_a_row(files: dict[str, bytes]) -> None:
    files["metrics/metrics.csv"] = b"".join(files["metrics/metrics.csv"].splitlines(keepends=True)[:-1])


def cut_parquet(files: dict[str, bytes]) -> None:
    files["metrics/metrics.parquet"] = files["metrics/metrics.parquet"][:-4]


BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotations>&c;'
XML = "annotations/cvat/annotations.xml"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            replaced("annotations/geojson/a.geojson", b'"Polygon"', b'"LineString"'),
            "annotations/geojson/: 1 object that",
        ),
        (replaced("annotations/geojson/a.geojson", b'"Polygon"', b'"Cube"'), "a feature is neither polygon nor line"),
        (
            replaced("annotations/labelme/a.json", b'"group_id": 2', b'"group_id": 1'),
            "annotations/labelme/: 1 object that",
        ),
        (replaced(XML, b'<mask rle="1"/>', b""), f"{XML}: 1 object that"),
        (replaced(XML, b"<annotations>", BOMB), f"{XML}: it declares a document type"),
        (replaced(XML, b"</annotations>", b""), f"{XML}: it is no XML"),
        (without_a_roi, "annotations/imagej/: 2 objects that"),
        (without_a_row, "metrics/: its tables differ in their rows: metrics/metrics.csv 3, metrics/metrics.json 4"),
        (without_a_row, "metrics/metrics.csv: it has 1 rows for =c"),
        (
            replaced("metrics/metrics.csv", b"a.png", b"z.png"),
            "metrics/metrics.csv: it has images that are nowhere else: z",
        ),
        (replaced("metrics/metrics.csv", b"Image Name", b"Name"), "metrics/metrics.csv: it has no column Image Name"),
        (cut_parquet, "metrics/metrics.parquet: it is no Parquet"),
        (replaced("metrics/metrics.xlsx", b"sheet1.xml", b"sheetX.xml"), "metrics/metrics.xlsx: it is no workbook"),
        (replaced("metrics/metrics.json", b'"rows":[', b'"rows":[{'), "metrics/metrics.json: its first table has no"),
    ],
)
def test_what_differs_or_is_broken_is_named(
    files: dict[str, bytes], tmp_path: Path, change: Callable[[dict[str, bytes]], object], fault: str
) -> None:
    change(files)
    said = check(tmp_path / "x.zip", files)
    assert any(fault in sentence for sentence in said), said


def test_images_that_are_told_to_be_left_out_may_be_missing(files: dict[str, bytes], tmp_path: Path) -> None:
    files.pop("annotations/labelme/a.json")
    files["visualizations/a_viz.png"] = files["visualizations/b_viz.png"] = b""
    losses = (
        "Labelme: 1 image of unknown size is left out: a.png.",
        "Visualizations: 1 image has none, as its pixels cannot be read: =c.png.",
    )
    assert check(tmp_path / "x.zip", files, *losses) == []
    assert len(check(tmp_path / "x.zip", files)) == 2
