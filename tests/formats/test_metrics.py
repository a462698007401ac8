"""Metrics from a dataset to files: the glue between measuring, spool and writers. Read back by openpyxl 3.1.5 and pandas."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from spooled import descriptors

from exportd.core.dataset import Annotation, Image, MemoryDataset, Polygon, Project
from exportd.core.options import METRICS_IDS, ExportOptions
from exportd.formats.member import Tick
from exportd.formats.metrics import metrics, spool_of
from exportd.formats.profiles import measure
from exportd.formats.tabular import Block

OPTIONS = ExportOptions(metrics_formats=METRICS_IDS)
IMAGES, OBJECTS = 3, 4


def dataset(project_type: str) -> MemoryDataset:
    names = ["=cmd.png", *(f"{n}.png" for n in range(1, IMAGES))]
    images = tuple(Image(name, name, name, 100, 100, "image/png", 1, display_order=n) for n, name in enumerate(names))
    square = np.array([(0.0, 0.0), (10, 0), (10, 10), (0, 10)])
    polygons = tuple(Polygon(f"{n}", n, square * n / 10 + 20) for n in range(1, OBJECTS + 1))
    annotations = {image.id: Annotation(polygons, segmented=True) for image in images}
    return MemoryDataset(Project("p", "Title", project_type, "u"), images, annotations)


def export(source: MemoryDataset, scratch: Path) -> tuple[dict[str, bytes], list[str]]:
    files, ticks = {}, []
    with spool_of(source, OPTIONS, scratch) as spool:
        for value in measure(source, OPTIONS):
            if isinstance(value, Block):
                spool.append(value)
            elif isinstance(value, Tick):
                ticks.append(value.item)
        for member in metrics(spool, OPTIONS):
            files[member.path] = b"".join(v for v in member.chunks if isinstance(v, bytes))
    return files, ticks


def test_a_project_of_spheroids_has_its_objects_in_every_form(tmp_path: Path) -> None:
    source = dataset("spheroid")
    files, ticks = export(source, tmp_path)
    assert ticks == [image.name for image in source.images]
    assert list(files) == [
        "metrics/metrics.xlsx",
        "metrics/metrics.csv", "metrics/summary.csv",
        "metrics/metrics.json",
        "metrics/metrics.parquet", "metrics/summary.parquet",
    ]  # fmt: skip
    book = openpyxl.load_workbook(io.BytesIO(files["metrics/metrics.xlsx"]))
    assert book.sheetnames == ["Polygon Metrics", "Summary"]
    assert book["Polygon Metrics"].max_row == IMAGES * OBJECTS + 1
    assert book["Polygon Metrics"]["A2"].data_type != "f"
    frames = [
        pd.read_csv(io.BytesIO(files["metrics/metrics.csv"])),
        pd.read_parquet(io.BytesIO(files["metrics/metrics.parquet"])),
    ]
    areas = [frame.filter(regex="^Area").iloc[:, 0].tolist() for frame in frames]
    assert areas[0] == areas[1] == pytest.approx([1, 4, 9, 16] * IMAGES)
    assert frames[0]["Image Name"][0] == "'=cmd.png"


def test_a_wound_has_its_series_and_its_chart(tmp_path: Path) -> None:
    files, _ = export(dataset("wound"), tmp_path)
    assert files["wound_healing/wound_area_chart.png"].startswith(b"\x89PNG")
    book = openpyxl.load_workbook(io.BytesIO(files["metrics/metrics.xlsx"]))
    assert len(book["WoundTimeSeries"]._charts) == 1


@pytest.mark.parametrize("project_type", ["spheroid_invasive", "sperm", "microcapsule", "microtubules", "whatever"])
def test_every_type_of_project_has_its_tables(project_type: str, tmp_path: Path) -> None:
    files, ticks = export(dataset(project_type), tmp_path)
    assert len(ticks) == IMAGES
    assert pd.read_csv(io.BytesIO(files["metrics/metrics.csv"])).columns[0]


def test_closing_at_any_value_leaves_nothing_open(tmp_path: Path) -> None:
    before, stop, seen = descriptors(), 0, 0
    while seen == stop:
        scratch = tmp_path / str(stop)
        scratch.mkdir()
        stop += 3
        seen = sum(1 for _ in islice(values(scratch), stop))
        assert descriptors() == before
    assert stop > IMAGES + len(METRICS_IDS)


def values(scratch: Path) -> Iterator[object]:
    """Everything that comes, closed as the archive does it."""
    source = dataset("wound")
    with ExitStack() as stack:
        spool = stack.enter_context(spool_of(source, OPTIONS, scratch))
        for value in measure(source, OPTIONS):
            if isinstance(value, Block):
                spool.append(value)
            yield value
        for member in stack.enter_context(closing(metrics(spool, OPTIONS))):
            with closing(member.chunks):  # type: ignore[type-var]  # a generator
                yield from member.chunks
