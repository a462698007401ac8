"""Bodies as existing clients send them."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
import pytest

from exportd.core.options import StartRequest, parse_start
from exportd.errors import MAX_PROBLEMS, InvalidRequest


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


MANY = 50_000
CROWDS = {
    "formats": {"options": {"annotationFormats": [1] * MANY}},
    "lists of one": {"options": {"annotationFormats": [[1]] * MANY}},
    "images": {"options": {"annotationFormats": ["coco"], "selectedImageIds": [1] * MANY}},
    "unknown keys": {"options": {str(number): 1 for number in range(MANY)}},
    "unknown keys below": {"options": {"visualizationOptions": {str(number): 1 for number in range(MANY)}}},
    "unknown keys above": {str(number): 1 for number in range(MANY)},
}


def cost(work: Callable[[], object]) -> float:
    """CPU time; the least of three."""
    times = []
    for _ in range(3):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return max(min(times), 1e-4)


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_crowd_of_faults_costs_not_much_more_than_to_read_it(crowd: str) -> None:
    body = orjson.dumps(CROWDS[crowd])

    def refuse() -> InvalidRequest:
        with pytest.raises(InvalidRequest) as caught:
            parse_start(body)
        return caught.value

    assert 1 <= len(refuse().problems) <= MAX_PROBLEMS
    assert len(str(refuse())) < 500
    assert cost(refuse) < 30 * cost(lambda: orjson.loads(body))


@pytest.mark.parametrize("depth", [200, 1000, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"options":', '{"options":{"mtMetrics":{"a":'])
def test_a_body_as_deep_as_it_may_be_is_refused(opening: str, depth: int) -> None:
    with pytest.raises(InvalidRequest):
        parse_start((opening * (depth // len(opening) + 1)).encode())


def test_a_few_faults_are_each_told_with_their_place() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_start(orjson.dumps({"options": {"annotationFormats": ["coco", "x", "y"], "metricsFormats": [1]}}))
    assert [problem.path for problem in caught.value.problems] == [
        "options.annotationFormats[1]",
        "options.annotationFormats[2]",
        "options.metricsFormats[0]",
    ]
