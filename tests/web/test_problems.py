"""Every error has its answer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import orjson
import pytest
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound, RequestEntityTooLarge

from exportd import errors
from exportd.errors import ExportdError, InvalidRequest, JobConflict, Problem
from exportd.web.problems import INTERNAL, STATUS, answer, http_error, status_of, unexpected

NOT_OF_REQUESTS = {
    "SettingsError", "DataDirectoryInUse", "DataDirectoryUnusable", "IllegalTransition", "SourceError",
    "SourceChanged", "UnreadableImage", "ImportFailed", "Unreachable", "ServerRefused", "ChecksumMismatch",
}  # fmt: skip
"""Errors that never come out of a call of the API; if one does, it is 500."""


def concrete(root: type[ExportdError]) -> Iterator[type[ExportdError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__ and not kind.__name__.startswith("_") and kind is not JobConflict:
            yield kind
        yield from concrete(kind)


def make(kind: type[ExportdError]) -> ExportdError:
    if kind is InvalidRequest:
        return InvalidRequest([Problem("options", "wrong")])
    if issubclass(kind, JobConflict):
        return kind("A sentence.", "j", "completed", completedAt="then")
    values = {"message": "A sentence.", "retry_after": 7}
    names = inspect.signature(kind.__init__).parameters
    return kind(*[v for k, v in values.items() if k in names] or (["A sentence."] if "args" in names else []))


@pytest.mark.parametrize("kind", sorted(set(concrete(ExportdError)), key=str))
async def test_every_error_is_decided_about(kind: type[ExportdError]) -> None:
    if kind.__name__ in NOT_OF_REQUESTS:
        assert not any(known in STATUS for known in kind.__mro__)
        return
    error = make(kind)
    response = answer(error)
    body = orjson.loads(await response.get_data())
    assert response.status_code == status_of(error) == STATUS[kind]
    assert (body["success"], body["error"], body["code"]) == (False, str(error), kind.code)
    assert body.items() >= error.details().items()
    assert response.content_type == "application/json"
    assert (response.headers.get("Retry-After") == "7") == hasattr(error, "retry_after")
    assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)


@pytest.mark.parametrize("error", [ExportdError("/secret/path"), ValueError("/secret/path"), InternalServerError()])
async def test_the_rest_is_neutral(error: Exception) -> None:
    response = answer(error) if isinstance(error, ExportdError) else unexpected(error)
    assert response.status_code == 500
    assert orjson.loads(await response.get_data()) == {"success": False, "error": INTERNAL, "code": "INTERNAL_ERROR"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(NotFound(), 404, "NOT_FOUND"), (MethodNotAllowed(["GET"]), 405, "METHOD_NOT_ALLOWED"),
     (RequestEntityTooLarge(), 413, "BODY_TOO_LARGE"), (InternalServerError(), 500, "INTERNAL_ERROR")],
)  # fmt: skip
async def test_errors_of_the_framework(error: HTTPException, status: int, code: str) -> None:
    response = http_error(error)
    body = orjson.loads(await response.get_data())
    assert (response.status_code, body["code"], body["success"]) == (status, code, False)
    assert response.headers.get("Allow") == ("GET" if status == 405 else None)
