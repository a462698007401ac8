"""The documentation describes what is in the archive, and nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from exportd.core.dataset import Annotation, Image, MemoryDataset, Notes, Polygon, Project, Skipped
from exportd.core.options import ExportOptions
from exportd.formats.documentation import Written, documentation
from exportd.formats.guide import metrics_guide
from exportd.formats.member import Member
from exportd.formats.table import FORMATS, Row
from exportd.formats.tabular import Column, Kind, Table
from exportd.formats.wound_chart import PATH as CHART

SQUARE = np.array([(0.0, 0.0), (9, 0), (9, 9), (0, 9)])
PROJECT = Project("p", "Cells | <b>", "spheroid", "u")
TABLE = Table(
    "Polygon Metrics",
    "metrics",
    (Column("Image Name", Kind.TEXT), Column("Area (px²)", meaning="A = shoelace | holes out")),
    summarised=True,
)
ROWS = {row.id: row for row in FORMATS}


def documents(*written: str, warnings: tuple[str, ...] = (), **options: Any) -> tuple[str, dict[str, Any]]:
    """README and metadata of an archive with these formats."""
    images = tuple(Image(f"i{n}", f"{n}.png", f"{n}.png", 20, 20, "image/png", 1) for n in range(2))
    annotations = {"i0": Annotation((Polygon("a", 1, SQUARE, (SQUARE / 3,)),), segmented=True)}
    dataset = MemoryDataset(PROJECT, images, annotations, Notes((Skipped("x", "x.png", "gone"),)))
    chosen = ExportOptions(include_documentation=True, **options)
    members = documentation(dataset, chosen, Written([ROWS[w] for w in written]), warnings)
    readme, metadata = (text(member) for member in members)
    return readme, orjson.loads(metadata)


def text(member: Member) -> str:
    return b"".join(chunk for chunk in member.chunks if isinstance(chunk, bytes)).decode()


def test_only_what_is_there_is_described() -> None:
    all_places = {place for row in FORMATS for place in row.places}
    for written in ((), ("coco",), ("yolo", "json")):
        readme, metadata = documents(*written)
        there = {place for w in written for place in ROWS[w].places}
        assert {place for place in all_places if f"`{place}`" in readme} == there
        assert ("## Classes" in readme) == bool({"coco", "yolo"} & set(written))
        assert ("`images/`" in readme) is False
        assert metadata["formats"] == list(written)
    assert "`images/`" in documents(include_original_images=True)[0]


def test_metrics_are_described_where_they_are_and_have_a_guide() -> None:
    dataset = MemoryDataset(PROJECT, ())
    options = ExportOptions(include_documentation=True, metrics_formats=("csv",))
    rows = [Row("csv", "CSV", "A row per object.", ("metrics/metrics.csv",))]
    written = Written(metrics=rows, tables=(TABLE,), visualizations=True, chart=True)
    readme, metadata, guide = documentation(dataset, options, written, ())
    page = text(readme)
    assert "| `metrics/metrics.csv` | Metrics as CSV: A row per object. |" in page
    assert all(f"`{place}`" in page for place in ("visualizations/", CHART, "metrics_guide.md"))
    assert orjson.loads(text(metadata))["metrics"] == ["csv"]
    assert guide.path == "documentation/metrics_guide.md"
    plain = documents("coco")[0]
    assert not any(f"`{place}`" in plain for place in ("visualizations/", CHART, "metrics_guide.md"))


def test_the_guide_has_each_column_with_its_definition_and_the_unit() -> None:
    page = text(metrics_guide((TABLE,), None))
    assert "| Area (px²) | number | A = shoelace \\| holes out |" in page
    assert "## Polygon Metrics" in page
    assert "## Summary" in page
    assert "No scale was given" in page
    assert "µm²" not in page
    for promise in ("n − 1", "complete: false", "not 0", "99 %", "linearly"):
        assert promise in page
    assert "s = 0.25 µm per pixel" in text(metrics_guide((TABLE,), 0.25))
    assert "## Summary" not in text(metrics_guide((replace(TABLE, summarised=False),), None))


def test_every_format_that_is_produced_says_where_it_is() -> None:
    assert all(bool(row.places) == (row.exporter is not None) for row in FORMATS)


def test_text_of_others_cannot_become_markup() -> None:
    readme, _ = documents(warnings=("a\n# b | `c`",))
    assert readme.splitlines()[0] == "# Cells \\| \\<b\\>"
    assert "- a \\# b \\| \\`c\\`" in readme


def test_the_metadata_counts_and_keeps_the_options() -> None:
    readme, metadata = documents("coco", pixel_to_micrometer_scale=0.25)
    assert metadata["counts"] == {
        "images": 2,
        "skippedImages": 1,
        "segmentedImages": 1,
        "polygons": 1,
        "holes": 1,
        "polylines": 0,
    }
    assert metadata["options"]["pixelToMicrometerScale"] == 0.25
    assert metadata["project"]["title"] == PROJECT.title
    assert "0.25 µm" in readme
    assert documents("coco", pixel_to_micrometer_scale=0.25) == (readme, metadata)
