"""What is measured by type of project: tables and rows, by hand and over the platform's odd projects."""

import json
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exportd.core.dataset import Annotation, Image, MemoryDataset, Pixels, Points, Polygon, Polyline, Project
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.formats import polygon_sheets
from exportd.formats.instances import labels
from exportd.formats.member import Tick, Warn
from exportd.formats.naming import archive_names
from exportd.formats.profiles import PROFILES, measure, tables
from exportd.formats.tabular import Block, Kind

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "edge_cases"
FILES = sorted(CASES.glob("*.json"))
here = pytest.mark.skipif(not FILES, reason="the odd projects are not here")

TYPES = [*PROFILES, "nobody knows"]
ROW_PER_POLYGON = (
    "Image Name", "Polygon ID", "Type", "Area (px²)", "Perimeter (px)", "Perimeter with Holes (px)",
    "Equivalent Diameter (px)", "Circularity", "Feret Diameter Max (px)", "Feret Diameter Min (px)",
    "Feret Diameter Orthogonal (px)", "Feret Aspect Ratio", "Major Axis Length (px)", "Minor Axis Length (px)",
    "Bounding Box Width (px)", "Bounding Box Height (px)", "Extent", "Compactness", "Convexity", "Solidity", "Sphericity",
)  # fmt: skip
"""As SPEC appendix A lists them."""

Row = dict[str, Any]


def asked(scale: float | None = None, *, intensities: bool = False) -> ExportOptions:
    return ExportOptions(metrics_formats=("csv",), pixel_to_micrometer_scale=scale, intensity_metrics=intensities)


PLAIN = asked()


def image(name: str = "a.png", width: int | None = 200, height: int | None = 100, **more: Any) -> Image:
    return Image(name.partition(".")[0], name, name, width, height, "image/png", 1, **more)


def dataset(kind: str, *rows: tuple[Image, Annotation], pictures: dict[str, Pixels] | None = None) -> MemoryDataset:
    annotations = {image.id: annotation for image, annotation in rows}
    return MemoryDataset(
        Project("p", "T", kind, "u"), tuple(image for image, _ in rows), annotations, pictures=pictures or {}
    )


def seen(*polygons: Polygon, lines: tuple[Polyline, ...] = (), warnings: tuple[str, ...] = ()) -> Annotation:
    numbered = tuple(replace(polygon, number=n) for n, polygon in enumerate(polygons, start=1))
    return Annotation(numbered, lines, warnings, segmented=True)


def box(x: float, y: float, width: float, height: float, **more: Any) -> Polygon:
    return Polygon("b", 1, corners(x, y, width, height), **more)


def corners(x: float, y: float, width: float, height: float) -> Points:
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)


def line(length: float, **more: Any) -> Polyline:
    return Polyline("l", np.array([(0, 0), (0, length)], np.float64), **more)


def run(found: MemoryDataset, options: ExportOptions = PLAIN) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows of each table, and the warnings; what holds of every run is checked on the way."""
    expected = tables(found.project.type, options)
    rows: dict[str, list[Row]] = {table.name: [] for table in expected}
    ticks, warnings = Counter[str](), []
    for value in measure(found, options):
        match value:
            case Block(table, columns):
                assert table in expected
                assert len(columns) == len(table.columns)
                assert len({len(column) for column in columns}) == 1
                assert len(columns[0]) <= 1000
                headers = [column.header for column in table.columns]
                rows[table.name] += [dict(zip(headers, row, strict=True)) for row in zip(*columns, strict=True)]
            case Tick(item):
                ticks[item] += 1
            case Warn():
                warnings.append(value.sentence)
    assert ticks == Counter(image.name for image in found.images)
    for table in expected:
        for row in rows[table.name]:
            for column in table.columns:
                is_proper(row[column.header], column.kind)
    return rows, warnings


def is_proper(value: object, kind: Kind) -> None:
    kinds: dict[Kind, tuple[type, ...]] = {Kind.TEXT: (str,), Kind.INTEGER: (int,), Kind.NUMBER: (int, float)}
    assert value is None or isinstance(value, kinds[kind])
    assert not (isinstance(value, float) and math.isinf(value))


# --- tables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize("intensities", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_tables_can_be_written_as_sheets_and_files(kind: str, intensities: bool, scale: float | None) -> None:
    found = tables(kind, asked(scale, intensities=intensities))
    assert found[0].file == "metrics"
    assert len({table.file for table in found}) == len({table.name.lower() for table in found}) == len(found)
    for table in found:
        assert len(table.name) <= 31
        headers = [column.header for column in table.columns]
        assert len(set(headers)) == len(headers)
        assert all(column.meaning and "\n" not in column.meaning for column in table.columns)
        unit = "µm" if scale is None else "(px"
        assert not [h for h in headers if unit in h and "Centroid" not in h]


@pytest.mark.parametrize("kind", ["spheroid", "wound", "nobody knows"])
def test_the_columns_of_the_contract_come_first(kind: str) -> None:
    table = tables(kind, PLAIN)[0]
    assert (table.name, table.summarised) == ("Polygon Metrics", True)
    assert tuple(column.header for column in table.columns)[: len(ROW_PER_POLYGON)] == ROW_PER_POLYGON


# --- rows ---------------------------------------------------------------------------------------------------------------


def test_a_row_per_complete_polygon_under_the_number_of_the_overlay() -> None:
    polygons = (
        box(10, 10, 30, 20),
        box(50, 10, 30, 20, complete=False),
        box(90, 10, 60, 20, holes=(corners(95, 12, 4, 4),)),
    )
    rows, warnings = run(dataset("spheroid", (image(), seen(*polygons, lines=(line(3),)))))
    first, second = rows["Polygon Metrics"]
    assert [first["Polygon ID"], second["Polygon ID"]] == [1, 3]
    assert (first["Image Name"], first["Type"], first["Area (px²)"]) == ("a.png", "external", 600)
    assert (second["Area (px²)"], second["Perimeter with Holes (px)"], second["Holes"]) == (1184, 176, 1)
    assert (first["Centroid X (px)"], first["Centroid Y (px)"], first["Orientation (°)"]) == (25, 20, 0)
    assert warnings == [
        "Metrics: 1 object is left out: flagged as incomplete.",
        "Metrics: 1 polyline is left out: this type of project measures polygons.",
    ]


def test_a_scale_turns_lengths_and_areas_into_micrometres() -> None:
    rows, _ = run(dataset("spheroid", (image(), seen(box(10, 10, 30, 40)))), asked(0.5))
    (row,) = rows["Polygon Metrics"]
    assert row["Area (µm²)"] == 300
    assert row["Feret Diameter Max (µm)"] == 25
    assert row["Convex Area (µm²)"] == 300
    assert (row["Feret Aspect Ratio"], row["Centroid X (px)"]) == (pytest.approx(50 / 30), 25)


def test_small_values_keep_their_digits() -> None:
    rows, _ = run(dataset("spheroid", (image(), seen(box(10, 10, 0.3, 0.4)))), asked(0.001))
    assert rows["Polygon Metrics"][0]["Area (µm²)"] == pytest.approx(1.2e-7, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "touches"),
    [(10, 10, 0), (1.5, 10, 0), (1, 10, 1), (10, 0.5, 1), (179, 10, 1), (178, 10, 0), (10, 89, 1), (-50, 10, 1)],
)
def test_an_object_touches_the_border_within_a_pixel(x: float, y: float, touches: int) -> None:
    polygon = box(x, y, 20, 10)
    rows, _ = run(dataset("spheroid", (image(), seen(polygon)), (image("b.png", None, None), seen(polygon))))
    assert [row["Touches Border"] for row in rows["Polygon Metrics"]] == [touches, None]


def test_many_polygons_come_in_several_blocks_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polygon_sheets, "BATCH_VERTICES", 10)
    polygons = [box(i, i, 3 + i, 4) for i in range(23)]
    rows, _ = run(dataset("spheroid", (image(), seen(*polygons))))
    assert [row["Polygon ID"] for row in rows["Polygon Metrics"]] == list(range(1, 24))
    assert [row["Bounding Box Width (px)"] for row in rows["Polygon Metrics"]] == [3 + i for i in range(23)]


def test_capsules_that_the_edge_cuts_are_left_out() -> None:
    whole = box(50, 30, 30, 40, confidence=0.9)
    found = dataset("microcapsule", (image(), seen(box(0, 30, 30, 40), whole, box(60, 30, 9, 9, complete=False))))
    rows, warnings = run(found, asked(2))
    (row,) = rows["Microcapsule Metrics"]
    assert (row["Capsule ID"], row["Confidence"]) == (2, 0.9)
    assert (row["Feret Max (µm)"], row["Feret Min (µm)"], row["Diameter (µm)"]) == (100, 60, 80)
    assert row["Ovality"] == pytest.approx(5 / 3)
    assert warnings == [
        "Metrics: 1 object is left out: flagged as incomplete.",
        "Metrics: 1 capsule is left out: cut by the edge of the image.",
    ]


def test_sperm_are_summed_by_instance_and_part() -> None:
    lines = (
        line(3, part_class="tail", instance_id="s1"),
        line(5, part_class="head", instance_id="s2"),
        line(4, part_class="tail", instance_id="s1"),
        line(1, part_class="head", instance_id="s1"),
        line(9, part_class="head"),
        line(9, instance_id="s3"),
    )
    found = dataset("sperm", (image(), seen(box(1, 1, 5, 5), lines=lines)), (image("b.png"), seen(lines=lines[:1])))
    rows, warnings = run(found, asked(0.5))
    table = [[v if v is None or v == v else None for v in row.values()] for row in rows["Sperm Metrics"]]
    assert table == [
        ["a.png", "s1", 0.5, None, 3.5, 4.0],
        ["a.png", "s2", 2.5, None, None, 2.5],
        ["a.png", "s3", None, None, None, None],
        ["b.png", "s1", None, None, 1.5, 1.5],
    ]
    assert warnings == [
        "Metrics: 1 polygon is left out: this type of project measures polylines.",
        "Metrics: 1 polyline is left out: part of no instance.",
        "Metrics: 1 polyline counts in no length: no head, midpiece or tail.",
    ]


def test_microtubules_have_the_labels_of_the_overlay() -> None:
    lines = (line(3, instance_id="x", track_id="t"), line(5), line(6, track_id="x"), line(7, instance_id="x"), line(5))
    assert labels("microtubules", lines) == ["MT1", "MT2", "MT3", "MT1", "MT4"]
    frame = image(parent_video_id="v", frame_index=0)
    rows, _ = run(dataset("microtubules", (frame, seen(lines=lines)), (image("b.png"), seen(lines=lines[1:2]))))
    assert [list(row.values()) for row in rows["Microtubule Metrics"]] == [
        ["v", 0, "a.png", "x", "MT1", 3, "t"],
        ["v", 0, "a.png", "l", "MT2", 5, None],
        ["v", 0, "a.png", "x", "MT3", 6, "x"],
        ["v", 0, "a.png", "x", "MT1", 7, None],
        ["v", 0, "a.png", "l", "MT4", 5, None],
        [None, None, "b.png", "l", "MT1", 5, None],
    ]


def test_wounds_are_shares_of_the_image_and_a_note_tells_why_there_is_none() -> None:
    wound = box(10, 10, 100, 50, holes=(corners(20, 20, 10, 10),))
    born = datetime(2026, 1, 31, 12, tzinfo=UTC)
    found = dataset(
        "wound",
        (image(created_at=born), seen(wound, box(150, 10, 20, 5), box(150, 50, 9, 9, complete=False))),
        (image("closed.png"), seen()),
        (image("never.png"), Annotation()),
        (image("sizeless.png", None, None), seen(wound)),
        (image("corrupt.png"), seen(warnings=("its polygons cannot be read",))),
    )
    rows, _ = run(found)
    assert [list(row.values()) for row in rows["WoundTimeSeries"]] == [
        [1, "a.png", 25.0, 2, "2026-01-31T12:00:00.000Z", "a", None],
        [2, "closed.png", 0, 0, None, "closed", None],
        [3, "never.png", None, None, None, "never", "no segmentation"],
        [4, "sizeless.png", None, 1, None, "sizeless", "image size unknown"],
        [5, "corrupt.png", None, 0, None, "corrupt", "its polygons cannot be read"],
    ]
    assert len(rows["Polygon Metrics"]) == 3


def test_invasive_spheroids_have_a_row_per_image_and_values_only_with_a_core() -> None:
    core, rim = box(80, 30, 20, 20, part_class="core"), box(50, 10, 80, 60)
    found = dataset(
        "spheroid_invasive",
        (image(), seen(rim, core)),
        (image("coreless.png"), seen(rim)),
        (image("bare.png"), seen(core)),
        (image("sizeless.png", None, None), seen(rim, core)),
        (image("never.png"), Annotation()),
        (image("empty.png"), seen()),
    )
    rows, _ = run(found, asked(0.5))
    with_core, coreless, bare, sizeless, never, empty = (list(row.values()) for row in rows["Image Metrics"])
    assert with_core[:4] == ["a.png", 1200, 100, 1100]
    assert with_core[6:8] == [pytest.approx(4400 / 4800), 1]
    assert with_core[8:11] == [1, 1, 0]
    assert with_core[11:] == pytest.approx([math.sqrt(400 / math.pi), math.sqrt(4800 / math.pi)])
    assert coreless == ["coreless.png", 1200, *[None] * 11]
    assert bare[1:4] == [0, 100, 0]
    assert bare[6] == 0
    assert sizeless == ["sizeless.png", 1200, 100, 1100, *[None] * 9]
    assert never == ["never.png", *[None] * 12]
    assert empty == ["empty.png", 0, *[None] * 11]


# --- intensities --------------------------------------------------------------------------------------------------------


def test_intensities_stand_beside_the_shape() -> None:
    grey = np.arange(20000, dtype=np.uint16).reshape(100, 200)
    found = dataset(
        "spheroid",
        (image(), seen(box(0, 0, 10, 1), box(0, 0, 2, 2))),
        (image("rgb.png"), seen(box(0, 0, 10, 1))),
        (image("gone.png"), seen(box(0, 0, 10, 1))),
        (image("small.png"), seen(box(0, 0, 10, 1))),
        (image("sizeless.png", None, None), seen(box(0, 0, 10, 1))),
        pictures={"a": grey, "rgb": np.stack([grey, grey + 1, grey + 2], axis=2), "small": grey[:50], "sizeless": grey},
    )
    rows, warnings = run(found, asked(intensities=True))
    first, second, rgb, gone, small, sizeless = rows["Polygon Metrics"]
    assert [first[f"Channel 1 {s}"] for s in ("Mean", "Median", "Integrated", "Maximum")] == [4.5, 4.5, 45, 9]
    assert first["Channel 1 SD"] == pytest.approx(np.arange(10).std())
    assert second["Channel 1 Mean"] == (0 + 1 + 200 + 201) / 4
    assert np.isnan(first["Channel 2 Mean"])
    assert [rgb[f"Channel {c} Mean"] for c in (1, 2, 3)] == [4.5, 5.5, 6.5]
    assert np.isnan([gone["Channel 1 Mean"], small["Channel 1 Mean"]]).all()
    assert sizeless["Channel 1 Mean"] == 4.5
    assert warnings == [
        "Metrics: 1 image has no intensities, as pixels cannot be read: gone.png.",
        "Metrics: 1 image has no intensities, as file and project differ about the size: small.png.",
    ]


@pytest.mark.parametrize("kind", ["spheroid_invasive", "sperm", "microtubules"])
def test_intensities_have_a_table_of_their_own_where_no_table_has_a_row_per_polygon(kind: str) -> None:
    pictures: dict[str, Pixels] = {"a": np.full((100, 200), 7, np.uint8)}
    found = dataset(kind, (image(), seen(box(5, 5, 9, 9), box(5, 5, 9, 9, complete=False))), pictures=pictures)
    rows, _ = run(found, asked(intensities=True))
    (row,) = rows["Object Intensities"]
    assert (row["Polygon ID"], row["Channel 1 Mean"], row["Channel 1 Integrated"]) == (1, 7, 567)
    assert "Object Intensities" not in run(found)[0]


def test_pixels_are_not_read_unless_they_are_asked_for() -> None:
    class Blind(MemoryDataset):
        def pixels(self, image: Image) -> Pixels:
            raise AssertionError(image.name)

    found = dataset("spheroid", (image(), seen(box(5, 5, 9, 9))), (image("b.png"), seen()))
    blind = Blind(found.project, found.images, found.annotations)
    run(blind)
    empty = Blind(found.project, found.images[1:], found.annotations)
    run(empty, asked(intensities=True))


# --- odd projects -------------------------------------------------------------------------------------------------------


@here
@pytest.mark.parametrize("kind", [None, *TYPES])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_odd_project_of_any_type_makes_measuring_fail(file: Path, kind: str | None) -> None:
    case = json.loads(file.read_text(encoding="utf-8"))
    names = archive_names([row["name"] for row in case["images"]])
    images = [
        Image(row["id"], name, row["name"], row["width"], row["height"], "image/png", 1)
        for row, name in zip(case["images"], names, strict=True)
    ]
    annotations = [parse_annotation(row["polygons"], row["width"], row["height"]) for row in case["images"]]
    found = dataset(kind or case["projectType"], *zip(images, annotations, strict=True))
    run(found)
    run(found, asked(0.5, intensities=True))


coordinate = st.integers(-5, 60) | st.floats(-5, 60) | st.sampled_from([1e-9, 10 + 1e-9, 1e7, -1e7, 40, 30])
entry = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["external", "internal"]),
        "points": st.lists(st.fixed_dictionaries({"x": coordinate, "y": coordinate}), min_size=2, max_size=8),
    },
    optional={
        "geometry": st.just("polyline"),
        "partClass": st.sampled_from(["core", "head", "tail"]),
        "instanceId": st.sampled_from(["a", "b"]),
        "complete": st.booleans(),
    },
)


@settings(max_examples=60)
@given(
    st.lists(entry, max_size=6),
    st.sampled_from([(40, 30), (1, 1), (None, None)]),
    st.sampled_from(TYPES),
    st.sampled_from([None, 0.001, 1000.0]),
)
def test_no_polygons_at_all_make_measuring_fail(
    entries: list[Row], size: tuple[int | None, int | None], kind: str, scale: float | None
) -> None:
    annotation = parse_annotation(json.dumps(entries), *size)
    pictures: dict[str, Pixels] = {"a": np.zeros((30, 40), np.float32)}
    run(dataset(kind, (image("a.png", *size), annotation), pictures=pictures), asked(scale, intensities=True))
