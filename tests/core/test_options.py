"""Bodies as existing clients send them."""

from __future__ import annotations

import orjson
import pytest

from exportd.core.options import StartRequest, parse_start
from exportd.errors import InvalidRequest


@pytest.mark.parametrize(
    ("given", "metrics", "kymographs"),
    [({}, False, False), ({"mtMetrics": True, "mtKymographs": True}, True, True), ({"mtKymographs": {}}, False, False),
     ({"mtMetrics": {"thicknessPx": 5}, "mtKymographs": {"enabled": True, "mode": "profiles"}}, True, True),
     ({"mtMetrics": {"enabled": False}, "mtKymographs": {"enabled": False}}, True, False)],
)  # fmt: skip
def test_details_of_microtubules_may_be_given(given: dict[str, object], metrics: bool, kymographs: bool) -> None:
    """Pages always want the metrics that they give details of; kymographs have a switch."""
    options = parse_start(orjson.dumps({"options": {"metricsFormats": ["csv"], **given}})).options
    assert (options.mt_metrics, options.mt_kymographs) == (metrics, kymographs)


@pytest.mark.parametrize("wrong", [1, "true", [], None])
def test_other_values_are_refused_with_their_path(wrong: object) -> None:
    for name in ("mtMetrics", "mtKymographs"):
        with pytest.raises(InvalidRequest) as caught:
            parse_start(orjson.dumps({"options": {"metricsFormats": ["csv"], name: wrong}}))
        assert [problem.path for problem in caught.value.problems] == [f"options.{name}"]


def test_the_schema_tells_of_both_forms() -> None:
    schema = StartRequest.model_json_schema()["$defs"]["ExportOptions"]["properties"]
    for name in ("mtMetrics", "mtKymographs"):
        assert {form["type"] for form in schema[name]["anyOf"]} == {"boolean", "object"}
