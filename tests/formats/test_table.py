"""The table of formats: what the contract knows is there, and what cannot be produced is told."""

import pytest

from exportd.core.options import FORMAT_IDS, METRICS_IDS, ExportOptions
from exportd.formats.table import FORMATS, METRICS, unavailable


def test_every_id_of_the_contract_has_a_row_in_its_order() -> None:
    assert tuple(row.id for row in FORMATS) == FORMAT_IDS
    assert tuple(row.id for row in METRICS) == METRICS_IDS
    assert all(row.name and row.description for row in (*FORMATS, *METRICS))


def test_the_main_formats_are_produced() -> None:
    chosen = ExportOptions(
        include_original_images=True, annotation_formats=("coco", "yolo", "json"), include_documentation=True
    )
    assert unavailable(chosen) == []


@pytest.mark.parametrize("row", [row for row in FORMATS if row.exporter is None], ids=lambda row: row.id)
def test_a_format_that_is_not_produced_is_told_by_its_name(row: object) -> None:
    assert row in FORMATS
    one = next(each for each in FORMATS if each is row)
    (sentence,) = unavailable(ExportOptions.model_validate({"annotation_formats": (one.id, "coco")}))
    assert one.name in sentence
    assert sentence.endswith(".")


def test_nothing_that_was_asked_for_is_missing_without_a_word() -> None:
    chosen = ExportOptions(
        include_visualizations=True,
        metrics_formats=METRICS_IDS,
        intensity_metrics=True,
        mt_metrics=True,
        mt_kymographs=True,
    )
    told = unavailable(chosen)
    missing_metrics = sum(row.exporter is None for row in METRICS)
    assert len(told) >= missing_metrics + 3
    assert len(set(told)) == len(told)
    assert any("isualization" in sentence for sentence in told)
    assert any("ntensity" in sentence for sentence in told)
