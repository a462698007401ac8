"""The description of the API says what is there."""

from __future__ import annotations

import re

import pytest

from exportd.core.options import StartRequest
from exportd.web import problems
from exportd.web.openapi import ROUTES, Route, document, page


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_described(route: Route) -> None:
    operation = document()["paths"][route.path][route.method.lower()]
    assert set(operation["responses"]) == {str(status) for status in (*route.answers, *route.refusals)}
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(re.findall(r"{(\w+)}", route.path))
    assert (401 in route.errors) != route.open
    for status in route.refusals:
        response = operation["responses"][str(status)]
        assert ("Retry-After" in response.get("headers", {})) == (status in {429, 503})
        assert all(code in response["description"] for code in problems.codes(status))


def test_every_code_stands_under_its_status() -> None:
    assert problems.codes(410) == ["EXPORT_CANCELLED", "EXPORT_EXPIRED"]
    assert problems.codes(413) == ["BODY_TOO_LARGE"]
    assert problems.codes(416) == ["RANGE_NOT_SATISFIABLE"]
    described = {status for route in ROUTES for status in route.errors}
    assert set(problems.STATUS.values()) <= described


def test_examples_are_taken() -> None:
    for route in ROUTES:
        assert (route.body is None) == (route.example is None)
        if route.body is not None:
            assert route.body is StartRequest
            StartRequest.model_validate(route.example, strict=False)


def test_references_lead_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document()))) <= set(schemas)


def test_page_shows_every_call_and_needs_no_other_host() -> None:
    html = page()
    assert all(f"<code>{route.method} {route.path}</code>" in html for route in ROUTES)
    assert "://" not in html
