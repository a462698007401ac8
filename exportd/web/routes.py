"""The table of all calls. The application, the OpenAPI document, its page and the tests are made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from exportd.core.options import StartRequest
from exportd.formats.thumbnails import MEDIA_TYPE
from exportd.web import problems, wire

PROJECT = "/api/projects/{projectId}"
EXPORTS = PROJECT + "/export"
JOB = EXPORTS + "/{jobId}"
ZIP = "application/zip"


@dataclass(frozen=True, slots=True)
class Route:
    """One call. `answers` are its statuses of success, with a model, a media type or nothing; `codes` its errors."""

    method: str
    path: str
    operation: str
    summary: str
    description: str
    answers: Mapping[int, type[BaseModel] | str | None]
    codes: tuple[str, ...] = ()
    many: bool = False
    body: type[BaseModel] | None = None
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    open: bool = False
    """Needs no identity."""
    example: Mapping[str, object] | None = None
    """A body to begin with."""

    @property
    def rule(self) -> str:
        """The path as quart writes it."""
        return re.sub(r"{(\w+)}", lambda name: f"<{_snake(name[1])}>", self.path)

    @property
    def errors(self) -> tuple[int, ...]:
        """The statuses of its errors."""
        return tuple(dict.fromkeys(sorted(problems.status_of_code(code) for code in self.codes)))

    @property
    def identifiers(self) -> tuple[str, ...]:
        """The names in the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


_ORDER = {
    "options": {"includeOriginalImages": True, "annotationFormats": ["coco", "yolo"], "includeDocumentation": True},
    "projectName": "Nuclei",
}
_KNOWS = ("UNAUTHORIZED", "SOURCE_UNAVAILABLE")
_ASKS = ("VALIDATION_ERROR", *_KNOWS)
_ORDERS = (*_ASKS, "FORBIDDEN", "ORIGIN_REFUSED", "REQUEST_TIMEOUT", "BODY_TOO_LARGE", "INSUFFICIENT_SPACE")
_NO_ARCHIVE = ("EXPORT_NOT_READY", "EXPORT_FAILED", "EXPORT_CANCELLED", "EXPORT_EXPIRED")
_DOWNLOADS = (*_ASKS, "INVALID_TOKEN", "NOT_FOUND", *_NO_ARCHIVE)
_RANGE = ("Range", "If-Range", "If-None-Match", "If-Modified-Since")

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        EXPORTS,
        "start_export",
        "Start an export",
        "The answer comes once the export is on record; Location names its status. With an Idempotency-Key, "
        "kept for 24 hours, a retry gives the same export. Prefer: respond-async makes it 202.",
        {200: wire.Started, 202: wire.Started},
        (*_ORDERS, "IDEMPOTENCY_KEY_REUSED", "TOO_MANY_ACTIVE_EXPORTS", "QUEUE_FULL", "SHUTTING_DOWN"),
        body=StartRequest,
        headers=("Idempotency-Key", "Prefer"),
        example=_ORDER,
    ),
    Route(
        "POST",
        EXPORTS + "/estimate",
        "estimate_export",
        "What an export would hold, without starting it",
        "Takes the body of a start. The number of bytes errs on the high side; warnings name what is asked for and "
        "cannot be produced.",
        {200: wire.Estimated},
        _ORDERS,
        body=StartRequest,
        example=_ORDER,
    ),
    Route(
        "GET",
        EXPORTS + "/history",
        "export_history",
        "The project's exports, newest first",
        "Those of everybody who has access, as long as they are on record.",
        {200: wire.JobObject},
        (*_ASKS, "NOT_FOUND"),
        many=True,
        query=("limit",),
    ),
    Route(
        "GET",
        JOB + "/status",
        "export_status",
        "How an export is doing",
        "Values that do not exist yet, or never will, are null. Progress is counted work: it never goes down, and 100 "
        "means that the archive is there.",
        {200: wire.JobObject},
        (*_ASKS, "NOT_FOUND"),
    ),
    Route(
        "POST",
        JOB + "/cancel",
        "cancel_export",
        "Cancel an export, for good",
        "Answered when the export is over: it never completes, and nothing of it can be downloaded. cleanupCompleted is "
        "false when its files outlast the time that a cancel waits for them; they are removed later. To "
        "cancel again is no error; an export that was completed or has failed is 409.",
        {200: wire.Cancelled},
        (*_ASKS, "NOT_ALLOWED", "ORIGIN_REFUSED", "NOT_FOUND", "EXPORT_COMPLETED", "EXPORT_FAILED"),
    ),
    Route(
        "GET",
        JOB + "/download",
        "download_export",
        "The archive",
        "One range is answered with that part, several with the whole. The ETag is the archive's SHA-256. "
        "A token stands in for the identity, so that the address works as a plain link.",
        {200: ZIP, 206: ZIP, 304: None},
        (*_DOWNLOADS, "RANGE_NOT_SATISFIABLE"),
        query=("filename", "token"),
        headers=_RANGE,
    ),
    Route(
        "HEAD",
        JOB + "/download",
        "download_export",
        "The headers of the archive",
        "What a GET of the whole would be answered with, without the bytes.",
        {200: ZIP, 304: None},
        _DOWNLOADS,
        query=("filename", "token"),
        headers=("If-None-Match", "If-Modified-Since"),
    ),
    Route(
        "POST",
        JOB + "/download-token",
        "create_download_token",
        "A token for a plain download link",
        "Good for 10 minutes, for this archive and in the name of who asked: append it to the download's address as "
        "?token=.",
        {200: wire.DownloadToken},
        (*_ASKS, "ORIGIN_REFUSED", "NOT_FOUND", *_NO_ARCHIVE),
    ),
    Route(
        "DELETE",
        JOB,
        "delete_export",
        "Remove archive and record",
        "For who started the export, and for the project's owner. The audit rows stay in the daemon's journal for its "
        "operator.",
        {204: None},
        (*_ASKS, "NOT_ALLOWED", "ORIGIN_REFUSED", "NOT_FOUND", "EXPORT_ACTIVE"),
    ),
    Route(
        "GET",
        JOB + "/audit",
        "export_audit",
        "What happened to an export, oldest first",
        "Every change of its state, with its reason and who did it: a user's id, or system.",
        {200: wire.AuditRow},
        (*_ASKS, "NOT_FOUND"),
        many=True,
    ),
    Route(
        "GET",
        PROJECT + "/images",
        "list_images",
        "The project's images, to choose from",
        "In the order of the archive, a page at a time; search keeps those that have it in their names. The ids are what "
        "selectedImageIds takes.",
        {200: wire.ImagePage},
        (*_ASKS, "NOT_FOUND"),
        query=("limit", "offset", "search"),
    ),
    Route(
        "GET",
        PROJECT + "/images/{imageId}/thumbnail",
        "image_thumbnail",
        "A small picture of an image",
        "A JPEG of at most 256 by 256 pixels; 404 also where the file is missing, cannot be decoded or is too large. Its "
        "ETag changes with the file.",
        {200: MEDIA_TYPE, 304: None},
        (*_ASKS, "NOT_FOUND"),
        headers=("If-None-Match",),
    ),
    Route(
        "GET",
        "/api/export/formats",
        "list_formats",
        "What can be produced",
        "The ids are what annotationFormats and metricsFormats take.",
        {200: wire.Formats},
        ("UNAUTHORIZED",),
    ),
    Route(
        "GET",
        "/api/projects",
        "list_projects",
        "What you may export",
        "Your own projects and those shared with you, the newest change first.",
        {200: wire.Project},
        _KNOWS,
        many=True,
    ),
    Route(
        "GET",
        "/api/exports",
        "list_exports",
        "Your exports, newest first",
        "Over all projects that you still have access to, at most 200.",
        {200: wire.JobObject},
        _KNOWS,
        many=True,
    ),
    Route(
        "GET",
        "/api/exports/events",
        "stream_events",
        "Your exports' events as they happen",
        "Server-Sent Events with the frames that /ws carries; jobId and projectId narrow them. Ids are "
        "jobId:seq, and Last-Event-ID tells what was missed since.",
        {200: "text/event-stream"},
        _ASKS,
        query=("jobId", "projectId"),
        headers=("Last-Event-ID",),
    ),
    Route(
        "GET",
        "/healthz",
        "healthz",
        "Whether the daemon lives",
        "Answers as long as the process does its work.",
        {200: "application/json"},
        open=True,
    ),
    Route(
        "GET",
        "/readyz",
        "readyz",
        "Whether it can answer",
        "503 from the moment on that it drains (running exports get their time, new ones are refused), and while a check "
        "fails that it cannot work without. A full disk is told, and is no such check.",
        {200: "application/json"},
        ("SHUTTING_DOWN", "NOT_READY"),
        open=True,
    ),
    Route(
        "GET",
        "/metrics",
        "metrics",
        "Counts for Prometheus",
        "Exports by status, running and waiting, open event streams, free room.",
        {200: "text/plain"},
        open=True,
    ),
    Route(
        "GET",
        "/openapi.json",
        "openapi",
        "This document",
        "OpenAPI 3.1, made from the types that validate the requests.",
        {200: "application/json"},
        open=True,
    ),
    Route(
        "GET", "/docs", "docs", "Its page", "The same for people, from this host alone.", {200: "text/html"}, open=True
    ),
)
