"""The description of the API says what is there."""

from __future__ import annotations

import json
import re
from html import escape

import pytest

from exportd.core.events import PHASE_CHANGED, PROGRESS, STARTED, TERMINAL
from exportd.core.options import StartRequest
from exportd.errors import ExportdError, TooManySessions
from exportd.web import examples, problems, wire
from exportd.web.docs import page
from exportd.web.openapi import PARAMETERS, document
from exportd.web.routes import ROUTES, Route


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_described(route: Route) -> None:
    operation = document()["paths"][route.path][route.method.lower()]
    assert set(operation["responses"]) == {str(status) for status in (*route.answers, *route.errors)}
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(re.findall(r"{(\w+)}", route.path))
    assert (401 in route.errors) != route.open
    assert operation["description"].endswith(".")
    for status in route.errors:
        response = operation["responses"][str(status)]
        assert ("Retry-After" in response.get("headers", {})) == (status in {429, 503})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_error_of_a_call_stands_under_its_status_with_an_example(route: Route) -> None:
    responses = document()["paths"][route.path][route.method.lower()]["responses"]
    for code in route.codes:
        response = responses[str(problems.status_of_code(code))]
        assert code in response["description"]
        example = response["content"]["application/json"]["examples"][code]["value"]
        assert example["code"] == code
        wire.Error.model_validate_json(json.dumps(example))


def test_every_error_that_a_call_can_give_is_described() -> None:
    """One that no call names is none of the API's; 500 is what is nobody's. Socket.IO's sessions are no calls."""
    of_calls = problems.STATUS.keys() - {TooManySessions}
    known = {kind.code for kind in of_calls if issubclass(kind, ExportdError)} | set(problems.HTTP_CODES.values())
    assert {code for route in ROUTES for code in route.codes} == known == set(examples.ERRORS)


def test_examples_are_taken() -> None:
    for route in ROUTES:
        assert (route.body is None) == (route.example is None)
        if route.body is not None:
            assert route.body is StartRequest
            StartRequest.model_validate(route.example, strict=False)


def test_examples_of_answers_are_answers() -> None:
    for route in ROUTES:
        for status, model in route.answers.items():
            if isinstance(model, type):
                content = document()["paths"][route.path][route.method.lower()]["responses"][str(status)]["content"]
                example = content["application/json"]["example"]
                for value in example if route.many else [example]:
                    made = model.model_validate_json(json.dumps(value))
                    assert set(value) == set(made.model_dump(by_alias=True))


def test_every_parameter_is_explained_and_none_else() -> None:
    used = {name for route in ROUTES for name in (*route.identifiers, *route.query, *route.headers)}
    assert used == set(PARAMETERS)


def test_every_event_is_explained_by_an_example() -> None:
    described = document()["x-events"]
    assert {event["event"] for event in described} == {STARTED, PROGRESS, PHASE_CHANGED, *TERMINAL}
    for event in described:
        assert event["example"]["event"] == event["event"]
        assert event["description"].endswith(".")
        assert {"jobId", "projectId", "timestamp"} <= set(event["example"]["data"])


def test_references_lead_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document()))) <= set(schemas)


def test_page_shows_every_call_and_needs_no_other_host() -> None:
    html = page()
    for route in ROUTES:
        assert f">{route.method}</b> {route.path}</code>" in html
        assert escape(route.description) in html
        assert all(code in html for code in route.codes)
    assert all(f'id="{event["event"].replace(":", "-")}"' in html for event in document()["x-events"])
    for name, schema in document()["components"]["schemas"].items():
        assert f'<article id="{name}">' in html
        assert all(f"<code>{field}</code>" in html for field in schema["properties"])
    anchors = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= anchors, "every link leads somewhere"
    assert "list: <code>coco</code>, <code>yolo</code>" in html
    assert "number, 0.001 to 1,000 or null" in html
    assert "://" not in html
    assert "style=" not in html, "the page's own policy forbids it"
