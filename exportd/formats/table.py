"""The one table of formats. HTTP list, command line, README and documentation come from it; a format is one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exportd.core.options import ExportOptions
from exportd.formats import cvat, tables
from exportd.formats.coco import PATH as COCO_PATH
from exportd.formats.coco import coco
from exportd.formats.geojson import geojson
from exportd.formats.imagej import imagej
from exportd.formats.instances import MICROTUBULES
from exportd.formats.labelme import labelme
from exportd.formats.labels import labels
from exportd.formats.member import Exporter
from exportd.formats.plain_json import PATH as JSON_PATH
from exportd.formats.plain_json import plain_json
from exportd.formats.yolo import yolo


@dataclass(frozen=True, slots=True)
class Row:
    """A format by its wire id."""

    id: str
    name: str
    description: str
    places: tuple[str, ...]
    """Where in the archive its members are; a folder ends with `/`."""


@dataclass(frozen=True, slots=True)
class FormatRow(Row):
    """A format of annotations."""

    exporter: Exporter


@dataclass(frozen=True, slots=True)
class MetricsRow(Row):
    """A form of the tables of metrics."""

    writer: tables.Writer


FORMATS: tuple[FormatRow, ...] = (
    FormatRow("coco", "COCO", "Instance segmentation in one JSON file; holes as RLE.", (COCO_PATH,), coco),
    FormatRow(
        "yolo",
        "YOLO segmentation",
        "A label file per image beside images/; trains as unzipped.",
        ("labels/", "data.yaml", "classes.txt"),
        yolo,
    ),
    FormatRow(
        "json",
        "JSON",
        "Polygons with area, perimeter, bounding box, centroid and statistics.",
        (JSON_PATH,),
        plain_json,
    ),
    FormatRow(
        "labels",
        "Label images",
        "A TIFF per image with the number of an object in each of its pixels, and a preview in colours.",
        ("annotations/labels/",),
        labels,
    ),
    FormatRow(
        "imagej",
        "ImageJ ROIs",
        "A RoiSet.zip per image for the ROI Manager; sub-pixel, holes as composites.",
        ("annotations/imagej/",),
        imagej,
    ),
    FormatRow(
        "geojson",
        "GeoJSON",
        "Polygons with true holes, a file per image, for QuPath.",
        ("annotations/geojson/",),
        geojson,
    ),
    FormatRow(
        "cvat", "CVAT for images 1.1", "XML for import into CVAT; objects with holes as masks.", (cvat.PATH,), cvat.cvat
    ),
    FormatRow(
        "labelme",
        "Labelme",
        "A JSON file per image that opens it from images/.",
        ("annotations/labelme/",),
        labelme,
    ),
)
"""In the order of the archive."""

METRICS: tuple[MetricsRow, ...] = (
    MetricsRow(
        "excel", "Excel", "A workbook with a sheet per table and a summary.", ("metrics/metrics.xlsx",), tables.excel
    ),
    MetricsRow("csv", "CSV", "A file per table.", ("metrics/*.csv",), tables.csv),
    MetricsRow("json", "JSON", "One document, a record per row.", ("metrics/metrics.json",), tables.json),
    MetricsRow(
        "parquet", "Parquet", "A file per table, a typed column per measure.", ("metrics/*.parquet",), tables.parquet
    ),
)
"""In the order of the archive."""


def unmet(options: ExportOptions, project_type: str) -> Iterator[str]:
    """A sentence for each thing that is asked for and cannot be in the archive, whatever the images hold."""
    if options.mt_kymographs:
        yield "Kymographs (mtKymographs): not in the archive, as exportd does not draw them."
    for wanted, name in ((options.mt_metrics, "mtMetrics"), (options.intensity_metrics, "intensityMetrics")):
        if wanted and not options.metrics_formats:
            yield f"{name}: not in the archive, as no format of metrics is chosen."
    if options.mt_metrics and options.metrics_formats and project_type != MICROTUBULES:
        yield f"mtMetrics: not in the archive, as the project is of another type than {MICROTUBULES}."
