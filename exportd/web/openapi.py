"""The OpenAPI 3.1 document, made from the table of calls. Events stand beside the calls under `x-events`."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import exportd
from exportd.core.options import StartRequest
from exportd.web import examples, problems, wire
from exportd.web.routes import ROUTES, Route

REF = "#/components/schemas/{model}"

MEANING = {
    200: "Done",
    202: "Started; ask the status under Location",
    204: "Gone",
    206: "The part that was asked for",
    304: "Not changed",
    400: "The request is not understood; errors names each fault",
    401: "Who asks is not known",
    403: "Not allowed, or no such project",
    404: "No such project, export or image",
    408: "The body took too long to come",
    409: "The state of the export stands against it",
    410: "Cancelled or expired: there is no archive, now or ever",
    413: "The body is too large",
    416: "The archive has none of these bytes",
    422: "The key was used for another request",
    429: "You have as many active exports as you may; Retry-After tells when to come back",
    503: "The queue is full, the daemon is stopping, or what it stands on does not answer; Retry-After tells when to come "
    "back",
    507: "Not enough room on the disk",
}

_UUID: dict[str, object] = {"type": "string", "format": "uuid"}

PARAMETERS: dict[str, tuple[dict[str, object], str]] = {
    "projectId": (_UUID, "The project."),
    "jobId": (_UUID, "The export."),
    "imageId": ({"type": "string"}, "The image."),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": 100},
        "At most so many; 10 exports or 60 images without it.",
    ),
    "offset": ({"type": "integer", "minimum": 0, "default": 0}, "So many are left out before the first."),
    "search": ({"type": "string", "maxLength": 200}, "Part of the name, in upper or lower case."),
    "filename": ({"type": "string"}, "The name to save as; the project's without it."),
    "token": ({"type": "string"}, "What download-token gave, in place of an identity."),
    "Idempotency-Key": (
        {"type": "string", "maxLength": 200},
        "Your own name for this request: a retry under it is the same.",
    ),
    "Prefer": ({"type": "string"}, "respond-async: answer 202."),
    "Range": ({"type": "string"}, "bytes=FIRST-LAST, to go on with a download that was cut."),
    "If-Range": ({"type": "string"}, "The ETag of what is there already: another archive is sent whole."),
    "If-None-Match": ({"type": "string"}, "The ETag of what is there already: 304 when it is the same."),
    "If-Modified-Since": ({"type": "string"}, "The Last-Modified of what is there already."),
    "Last-Event-ID": ({"type": "string"}, "The id of the last event that came: jobId:seq."),
}
"""Schema and meaning of every parameter by its name, wherever in the request it stands."""


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "exportd",
            "version": exportd.__version__,
            "description": "Exports annotated image projects as archives, in background jobs whose cancel is final. "
            "Events come over the WebSocket /ws.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _SECURITY},
        "x-events": [
            {"event": message.event, "description": meaning, "example": examples.event_frame(number, message)}
            for number, (meaning, message) in enumerate(examples.EVENTS, 1)
        ],
    }


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "access_token"},
}


def _schemas() -> dict[str, Any]:
    answers = {model for route in ROUTES for model in route.answers.values() if isinstance(model, type)}
    models: list[type[BaseModel]] = [StartRequest, wire.Error, *sorted(answers, key=lambda model: model.__name__)]
    _, schema = models_json_schema([(model, "validation") for model in models], by_alias=True, ref_template=REF)
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _operation(route: Route) -> dict[str, Any]:
    responses = {str(status): _response(route, status) for status in route.answers}
    responses |= {str(status): _refusal(route, status) for status in route.errors}
    made: dict[str, Any] = {
        "operationId": route.operation if route.method != "HEAD" else f"{route.operation}_head",
        "summary": route.summary,
        "description": route.description,
        "parameters": _parameters(route),
        "responses": responses,
        "security": [] if route.open else [{"bearer": []}, {"cookie": []}],
    }
    if route.body is not None:
        content = {"schema": _schema(route.body), "example": route.example}
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
    return made


def _response(route: Route, status: int) -> dict[str, Any]:
    made: dict[str, Any] = {"description": MEANING[status]}
    model = route.answers[status]
    if isinstance(model, str):
        known = examples.MEDIA.get(route.operation)
        made["content"] = {model: {} if known is None else {"example": known}}
    elif model is not None:
        content = {"schema": _schema(model, route.many), "example": _example(model, route.many)}
        made["content"] = {"application/json": content}
    return made


def _example(model: type[BaseModel], many: bool) -> object:
    example = examples.ANSWERS[model]
    return [example] if many and not isinstance(example, list) else example


def _refusal(route: Route, status: int) -> dict[str, Any]:
    """An error; its description ends with the codes that the status stands for here, and each has its example."""
    codes = [code for code in route.codes if problems.status_of_code(code) == status]
    shown = {code: {"value": examples.ERRORS[code]} for code in codes}
    made: dict[str, Any] = {
        "description": f"{MEANING[status]}. Code: {', '.join(codes)}",
        "content": {"application/json": {"schema": _schema(wire.Error), "examples": shown}},
    }
    if status in problems.RETRIES:
        made["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return made


def _schema(model: type[BaseModel], many: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": REF.format(model=model.__name__)}
    return {"type": "array", "items": schema} if many else schema


def _parameters(route: Route) -> list[dict[str, Any]]:
    return [
        *(_parameter(name, "path") | {"required": True} for name in route.identifiers),
        *(_parameter(name, "query") for name in route.query),
        *(_parameter(name, "header") for name in route.headers),
    ]


def _parameter(name: str, place: str) -> dict[str, Any]:
    schema, meaning = PARAMETERS[name]
    return {"name": name, "in": place, "description": meaning, "schema": schema}
