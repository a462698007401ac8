"""The table of formats: what the contract knows is there, and what cannot be in an archive is told."""

from exportd.core.options import FORMAT_IDS, METRICS_IDS, ExportOptions
from exportd.formats.table import FORMATS, METRICS, unmet


def test_every_id_of_the_contract_has_a_row_in_its_order() -> None:
    assert tuple(row.id for row in FORMATS) == FORMAT_IDS
    assert tuple(row.id for row in METRICS) == METRICS_IDS
    assert all(row.name and row.description for row in (*FORMATS, *METRICS))


def test_with_everything_chosen_nothing_is_missing() -> None:
    chosen = ExportOptions(
        include_original_images=True,
        include_visualizations=True,
        annotation_formats=FORMAT_IDS,
        metrics_formats=METRICS_IDS,
        intensity_metrics=True,
        mt_metrics=True,
        include_documentation=True,
    )
    assert list(unmet(chosen, "microtubules")) == []


def test_what_is_asked_for_and_cannot_be_had_is_told_by_its_name() -> None:
    chosen = ExportOptions(include_documentation=True, intensity_metrics=True, mt_metrics=True, mt_kymographs=True)
    told = list(unmet(chosen, "microtubules"))
    for name in ("intensityMetrics", "mtMetrics", "mtKymographs"):
        assert sum(name in sentence for sentence in told) == 1
    (other,) = unmet(ExportOptions(metrics_formats=("csv",), mt_metrics=True), "spheroid")
    assert "mtMetrics" in other
