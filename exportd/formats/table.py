"""The one table of formats. HTTP list, command line, README and documentation come from it; a format is one row."""

from __future__ import annotations

from dataclasses import dataclass

from exportd.core.options import ExportOptions
from exportd.formats.coco import PATH as COCO_PATH
from exportd.formats.coco import coco
from exportd.formats.member import Exporter
from exportd.formats.plain_json import PATH as JSON_PATH
from exportd.formats.plain_json import plain_json
from exportd.formats.yolo import yolo


@dataclass(frozen=True, slots=True)
class FormatRow:
    """A format by its wire id. Without an exporter it is known to the contract and not produced by this version."""

    id: str
    name: str
    description: str
    exporter: Exporter | None = None
    places: tuple[str, ...] = ()
    """Where in the archive its members are; a folder ends with `/`."""


FORMATS: tuple[FormatRow, ...] = (
    FormatRow("coco", "COCO", "Instance segmentation in one JSON file; holes as RLE.", coco, (COCO_PATH,)),
    FormatRow(
        "yolo",
        "YOLO segmentation",
        "A label file per image beside images/; trains as unzipped.",
        yolo,
        ("labels/", "data.yaml", "classes.txt"),
    ),
    FormatRow(
        "json",
        "JSON",
        "Polygons with area, perimeter, bounding box, centroid and statistics.",
        plain_json,
        (JSON_PATH,),
    ),
    FormatRow("labels", "Label images", "A TIFF per image with a number per object."),
    FormatRow("imagej", "ImageJ ROIs", "A RoiSet.zip per image, sub-pixel."),
    FormatRow("geojson", "GeoJSON", "Polygons with true holes, for QuPath."),
    FormatRow("cvat", "CVAT for images 1.1", "XML for import into CVAT."),
    FormatRow("labelme", "Labelme", "A JSON file per image."),
)
"""In the order of the archive."""

METRICS: tuple[FormatRow, ...] = (
    FormatRow("excel", "Excel", "A workbook with a sheet of objects and a summary."),
    FormatRow("csv", "CSV", "A row per object."),
    FormatRow("json", "JSON", "A record per object."),
    FormatRow("parquet", "Parquet", "A typed column per measure."),
)


def unavailable(options: ExportOptions) -> list[str]:
    """A sentence for each thing that is chosen and cannot be produced by this version."""
    missing = [
        f"{row.name} ({row.id})" for row in FORMATS if row.exporter is None and row.id in options.annotation_formats
    ]
    missing += [
        f"Metrics as {row.name}" for row in METRICS if row.exporter is None and row.id in options.metrics_formats
    ]
    if options.include_visualizations:
        missing.append("Visualizations")
    if options.intensity_metrics:
        missing.append("Intensity metrics (intensityMetrics)")
    if options.mt_metrics:
        missing.append("Microtubule metrics (mtMetrics)")
    if options.mt_kymographs:
        missing.append("Kymographs (mtKymographs)")
    return [f"{thing}: not in the archive, as this version cannot produce it." for thing in missing]
