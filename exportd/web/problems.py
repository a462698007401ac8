"""Errors -> answers, by one table."""

from __future__ import annotations

from http import HTTPStatus

import orjson
import structlog
from quart import Quart, Response
from werkzeug.exceptions import HTTPException

from exportd.errors import (
    ExportActive,
    ExportCancelled,
    ExportCompleted,
    ExportdError,
    ExportExpired,
    ExportFailed,
    ExportNotReady,
    IdempotencyMismatch,
    InsufficientSpace,
    InvalidRequest,
    InvalidToken,
    NotAllowed,
    NotFound,
    NotReady,
    OriginRefused,
    ProjectForbidden,
    QueueFull,
    ShuttingDown,
    SourceUnavailable,
    TooManyActive,
    TooManySessions,
    Unauthenticated,
)

log = structlog.get_logger("exportd.web")

STATUS: dict[type[BaseException], int] = {
    InvalidRequest: 400,
    Unauthenticated: 401,
    InvalidToken: 401,
    ProjectForbidden: 403,
    NotAllowed: 403,
    OriginRefused: 403,
    NotFound: 404,
    ExportNotReady: 409,
    ExportActive: 409,
    ExportCompleted: 409,
    ExportFailed: 409,
    ExportCancelled: 410,
    ExportExpired: 410,
    IdempotencyMismatch: 422,
    TooManyActive: 429,
    QueueFull: 503,
    TooManySessions: 503,
    ShuttingDown: 503,
    SourceUnavailable: 503,
    NotReady: 503,
    InsufficientSpace: 507,
}

HTTP_CODES = {408: "REQUEST_TIMEOUT", 413: "BODY_TOO_LARGE", 416: "RANGE_NOT_SATISFIABLE"}
"""Wire codes of werkzeug's errors where the name of the status is not what we say."""

SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    408: "The request body took too long to come.",
    413: "The request body is too large.",
}

INTERNAL = "Something went wrong in the export service; its log tells what."


def status_of(error: ExportdError) -> int:
    """The HTTP status of an error: its own or that of the nearest class above it; 500 for what is not the caller's."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


RETRIES = frozenset({429, 503})
"""Statuses that come with Retry-After."""


def status_of_code(code: str) -> int:
    """The HTTP status that a wire code comes with. Raises `KeyError` for one that is never sent."""
    return _BY_CODE[code]


_BY_CODE = {kind.code: status for kind, status in STATUS.items() if issubclass(kind, ExportdError)} | {
    code: status for status, code in HTTP_CODES.items()
}


def body(message: str, code: str, **details: object) -> bytes:
    """The error body of SPEC §3."""
    return orjson.dumps({"success": False, "error": message, "code": code, **details})


def json_response(content: bytes, status: int) -> Response:
    """An answer for who asked, and for no cache."""
    return Response(content, status, {"Cache-Control": "no-store"}, content_type="application/json")


def answer(error: ExportdError) -> Response:
    """The answer that an error is."""
    status = status_of(error)
    if status == 500:
        return unexpected(error)
    response = json_response(body(str(error), error.code, **error.details()), status)
    if (retry_after := getattr(error, "retry_after", None)) is not None:
        response.headers["Retry-After"] = str(retry_after)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def http_error(error: HTTPException) -> Response:
    """The answer to what the framework refused."""
    status = error.code or 500
    if status >= 500:
        return unexpected(error)
    known = HTTPStatus(status)
    code = HTTP_CODES.get(status, known.name)
    response = json_response(body(SENTENCES.get(status, f"{known.phrase}."), code), status)
    for name, value in error.get_headers():
        if name.lower() in {"allow", "retry-after"}:
            response.headers[name] = value
    return response


def unexpected(error: BaseException) -> Response:
    """A neutral answer; the log has the error."""
    log.error("request_failed", exc_info=error)
    return json_response(body(INTERNAL, "INTERNAL_ERROR"), 500)


def register(app: Quart) -> None:
    """Every error of the app gets its answer here."""

    async def on_exportd(error: Exception) -> Response:
        return answer(error) if isinstance(error, ExportdError) else unexpected(error)

    async def on_http(error: Exception) -> Response:
        return http_error(error) if isinstance(error, HTTPException) else unexpected(error)

    async def on_other(error: Exception) -> Response:
        return unexpected(error)

    app.register_error_handler(ExportdError, on_exportd)
    app.register_error_handler(HTTPException, on_http)
    app.register_error_handler(Exception, on_other)
