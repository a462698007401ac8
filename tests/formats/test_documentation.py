"""The documentation describes what is in the archive, and nothing else."""

from typing import Any

import numpy as np
import orjson

from exportd.core.dataset import Annotation, Image, MemoryDataset, Notes, Polygon, Project, Skipped
from exportd.core.options import ExportOptions
from exportd.formats.documentation import documentation
from exportd.formats.table import FORMATS

SQUARE = np.array([(0.0, 0.0), (9, 0), (9, 9), (0, 9)])
PROJECT = Project("p", "Cells | <b>", "spheroid", "u")
ROWS = {row.id: row for row in FORMATS}


def documents(*written: str, warnings: tuple[str, ...] = (), **options: Any) -> tuple[str, dict[str, Any]]:
    """README and metadata of an archive with these formats."""
    images = tuple(Image(f"i{n}", f"{n}.png", f"{n}.png", 20, 20, "image/png", 1) for n in range(2))
    annotations = {"i0": Annotation((Polygon("a", 1, SQUARE, (SQUARE / 3,)),), segmented=True)}
    dataset = MemoryDataset(PROJECT, images, annotations, Notes((Skipped("x", "x.png", "gone"),)))
    chosen = ExportOptions(include_documentation=True, **options)
    readme, metadata = (
        b"".join(chunk for chunk in member.chunks if isinstance(chunk, bytes))
        for member in documentation(dataset, chosen, [ROWS[w] for w in written], warnings)
    )
    return readme.decode(), orjson.loads(metadata)


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
