"""The table of all calls, and the OpenAPI 3.1 document and page that are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import exportd
from exportd.core.options import StartRequest
from exportd.web import problems, wire

PROJECT = "/api/projects/{projectId}/export"
JOB = PROJECT + "/{jobId}"
REF = "#/components/schemas/{model}"
ZIP = "application/zip"


@dataclass(frozen=True, slots=True)
class Route:
    """One call. `answers` are its statuses of success, with a model, a media type or nothing; `errors` its others."""

    method: str
    path: str
    operation: str
    summary: str
    answers: dict[int, type[BaseModel] | str | None]
    errors: tuple[int, ...] = ()
    many: bool = False
    body: type[BaseModel] | None = None
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    open: bool = False
    """Needs no identity."""
    description: str = ""
    example: Mapping[str, object] | None = None
    """A body to begin with."""

    @property
    def rule(self) -> str:
        """The path as quart writes it."""
        return self.path.replace("{projectId}", "<project_id>").replace("{jobId}", "<job_id>")

    @property
    def refusals(self) -> tuple[int, ...]:
        """`errors`, and 503: whoever has to be known may also need the database of the projects, which may be away."""
        return self.errors if self.open else tuple(dict.fromkeys((*self.errors, 503)))


_ORDER = {
    "options": {"includeOriginalImages": True, "annotationFormats": ["coco", "yolo"], "includeDocumentation": True},
    "projectName": "Nuclei",
}
_START = (400, 401, 403, 413, 507)
_RANGE = ("Range", "If-Range", "If-None-Match", "If-Modified-Since")
_ARCHIVE: dict[int, type[BaseModel] | str | None] = {200: ZIP, 206: ZIP, 304: None}
_MISSING = (400, 401, 403, 404, 409, 410, 416)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        PROJECT,
        "start_export",
        "Start an export",
        {200: wire.Started, 202: wire.Started},
        (*_START, 422, 429, 503),
        body=StartRequest,
        headers=("Idempotency-Key", "Prefer"),
        description="The answer comes once the export is on record; Location names its status. With an Idempotency-Key, "
        "kept for 24 hours, a retry gives the same export. Prefer: respond-async makes it 202.",
        example=_ORDER,
    ),
    Route(
        "POST",
        PROJECT + "/estimate",
        "estimate_export",
        "What an export would hold, without starting it",
        {200: wire.Estimated},
        _START,
        body=StartRequest,
        example=_ORDER,
    ),
    Route(
        "GET",
        PROJECT + "/history",
        "export_history",
        "The project's exports, newest first",
        {200: wire.JobObject},
        (400, 401, 404),
        many=True,
        query=("limit",),
    ),
    Route("GET", JOB + "/status", "export_status", "How an export is doing", {200: wire.JobObject}, (400, 401, 404)),
    Route(
        "POST",
        JOB + "/cancel",
        "cancel_export",
        "Cancel an export, for good",
        {200: wire.Cancelled},
        (400, 401, 403, 404, 409),
        description="Answered when the export is over: it never completes, and nothing of it can be downloaded. To "
        "cancel again is no error; an export that was completed or has failed is 409.",
    ),
    Route(
        "GET",
        JOB + "/download",
        "download_export",
        "The archive",
        _ARCHIVE,
        _MISSING,
        query=("filename", "token"),
        headers=_RANGE,
        description="One range is answered with that part, several with the whole. The ETag is the archive's SHA-256. "
        "A token stands in for the identity, so that the address works as a plain link.",
    ),
    Route(
        "HEAD",
        JOB + "/download",
        "download_export",
        "The headers of the archive",
        _ARCHIVE,
        _MISSING,
        query=("filename", "token"),
        headers=("If-None-Match", "If-Modified-Since"),
    ),
    Route(
        "POST",
        JOB + "/download-token",
        "create_download_token",
        "A token for a plain download link",
        {200: wire.DownloadToken},
        (400, 401, 403, 404, 409, 410),
    ),
    Route(
        "DELETE",
        JOB,
        "delete_export",
        "Remove archive and record",
        {204: None},
        (400, 401, 403, 404, 409),
    ),
    Route(
        "GET",
        JOB + "/audit",
        "export_audit",
        "What happened to an export, oldest first",
        {200: wire.AuditRow},
        (400, 401, 404),
        many=True,
    ),
    Route("GET", "/api/export/formats", "list_formats", "What can be produced", {200: wire.Formats}, (401,)),
    Route("GET", "/api/projects", "list_projects", "What you may export", {200: wire.Project}, (401,), many=True),
    Route(
        "GET", "/api/exports", "list_exports", "Your exports, newest first", {200: wire.JobObject}, (401,), many=True
    ),
    Route(
        "GET",
        "/api/exports/events",
        "stream_events",
        "Your exports' events as they happen",
        {200: "text/event-stream"},
        (400, 401),
        query=("jobId", "projectId"),
        headers=("Last-Event-ID",),
        description="Server-Sent Events with the frames that /ws carries; jobId and projectId narrow them. Ids are "
        "jobId:seq, and Last-Event-ID tells what was missed since.",
    ),
    Route("GET", "/healthz", "healthz", "Whether the daemon lives", {200: "application/json"}, open=True),
    Route("GET", "/readyz", "readyz", "Whether it can answer", {200: "application/json"}, (503,), open=True),
    Route("GET", "/metrics", "metrics", "Counts for Prometheus", {200: "text/plain"}, open=True),
    Route("GET", "/openapi.json", "openapi", "This document", {200: "application/json"}, open=True),
    Route("GET", "/docs", "docs", "Its page", {200: "text/html"}, open=True),
)

MEANING = {
    200: "Done",
    202: "Started; ask the status under Location",
    204: "Gone",
    206: "The part that was asked for",
    304: "Not changed",
    400: "The request is not understood; errors names each fault",
    401: "Who asks is not known",
    403: "Not allowed, or no such project",
    404: "No such project or export",
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

QUERIES: dict[str, dict[str, object]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
    "filename": {"type": "string"},
    "token": {"type": "string"},
    "jobId": {"type": "string", "format": "uuid"},
    "projectId": {"type": "string", "format": "uuid"},
}


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
    responses = {str(status): _response(status, model, route.many) for status, model in route.answers.items()}
    responses |= {str(status): _refusal(status) for status in route.refusals}
    made: dict[str, Any] = {
        "operationId": route.operation if route.method != "HEAD" else f"{route.operation}_head",
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": responses,
        "security": [] if route.open else [{"bearer": []}, {"cookie": []}],
    }
    if route.description:
        made["description"] = route.description
    if route.body is not None:
        content = _json_content(route.body.__name__)
        content["application/json"]["example"] = route.example
        made["requestBody"] = {"required": True, "content": content}
    return made


def _refusal(status: int) -> dict[str, Any]:
    """An error; its description ends with every code that the status can stand for."""
    made = _response(status, wire.Error, many=False)
    made["description"] += f". Code: {', '.join(problems.codes(status))}"
    if status in problems.RETRIES:
        made["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return made


def _response(status: int, model: type[BaseModel] | str | None, many: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"description": MEANING[status]}
    if isinstance(model, str):
        made["content"] = {model: {}}
    elif model is not None:
        made["content"] = _json_content(model.__name__, many)
    return made


def _json_content(name: str, many: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": REF.format(model=name)}
    return {"application/json": {"schema": {"type": "array", "items": schema} if many else schema}}


def _parameters(route: Route) -> list[dict[str, Any]]:
    uuid = {"type": "string", "format": "uuid"}
    ids = [name for name in ("projectId", "jobId") if f"{{{name}}}" in route.path]
    return [
        *({"name": name, "in": "path", "required": True, "schema": uuid} for name in ids),
        *({"name": name, "in": "query", "schema": QUERIES[name]} for name in route.query),
        *({"name": name, "in": "header", "schema": {"type": "string"}} for name in route.headers),
    ]


# --- the page -------------------------------------------------------------------------------------------------------


@cache
def page() -> str:
    """The document for people: one page, from this host alone."""
    calls = "\n".join(
        _call(method, path, operation)
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>exportd API</title>\n'
        '<meta name="viewport" content="width=device-width">\n<link rel="stylesheet" href="/static/style.css">\n'
        f"<main><h1>exportd API</h1>\n<p>{escape(document()['info']['description'])} "
        f'The whole of it: <a href="/openapi.json">openapi.json</a>.</p>\n{calls}\n</main></html>\n'
    )


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = ", ".join(f"{p['name']} ({p['in']})" for p in operation["parameters"] if p["in"] != "path")
    extra = f"<p>Takes {escape(parameters)}.</p>" if parameters else ""
    if "requestBody" in operation:
        extra += f"<p>Body: {escape(_type(operation['requestBody']['content']))}</p>"
    rows = "".join(
        f"<tr><td>{status}<td>{escape(response['description'])}<td>{escape(_type(response.get('content', {})))}"
        for status, response in operation["responses"].items()
    )
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>\n"
        f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>{extra}"
        f"<table>{rows}</table></section>"
    )


def _type(content: dict[str, Any]) -> str:
    """What a body is, in a word."""
    for media, value in content.items():
        schema = value.get("schema")
        if schema is None:
            return str(media)
        name = schema.get("$ref") or schema["items"]["$ref"]
        return str(name).rpartition("/")[2] + (" list" if "items" in schema else "")
    return ""
