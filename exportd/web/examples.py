"""Examples for the API's description: of every answer, every error and every event. What the code makes of a made-up
export stands here, so that an example cannot show what is never sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from pydantic import BaseModel

from exportd.core import events
from exportd.core.events import Message
from exportd.core.job import Job, Progress, Transition, wire_time
from exportd.core.options import ExportOptions
from exportd.core.states import Reason, State
from exportd.core.users import User
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
    Problem,
    ProjectForbidden,
    QueueFull,
    ShuttingDown,
    SourceUnavailable,
    TooManyActive,
    Unauthenticated,
)
from exportd.formats.table import FORMATS, METRICS
from exportd.web import problems, wire

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
_USER = User("7d9f0c1e-54b1-4a7e-9a53-5f4b1c6f0e11", "alice@example.org")
_PROJECT = "c3b0a8f2-1a9b-505f-9582-99407108ad3e"
_IMAGE = "f2a1c3d4-0d5e-4f60-8a7b-9c0d1e2f3a4b"
_JOB = "1c9c1b3a-6f0d-4c57-9a53-5f4b1c6f0e12"

PENDING = Job(
    id=_JOB,
    project_id=_PROJECT,
    project_name="Nuclei",
    user=_USER,
    options=ExportOptions(
        include_original_images=True, annotation_formats=("coco", "yolo"), include_documentation=True
    ),
    created_at=AT,
)
RUNNING = replace(
    PENDING,
    state=State.PROCESSING,
    started_at=AT + timedelta(milliseconds=12),
    progress=Progress(42, "processing", "annotations", 17, 48, "nuclei_017.png", "Writing annotations", remaining=3.2),
)
COMPLETED = replace(
    RUNNING,
    state=State.COMPLETED,
    progress=Progress(100, "finalizing", "compression", 1, 1, None, "Finishing the archive"),
    completed_at=AT + timedelta(seconds=6),
    expires_at=AT + timedelta(seconds=6, days=1),
    file_name="Nuclei.zip",
    file_size=5_242_880,
    sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    total_images=24,
    warnings=("blurred.png was left out: the file is missing",),
)
CANCELLED = replace(
    RUNNING,
    state=State.CANCELLED,
    cancelled_at=AT + timedelta(seconds=3),
    cancelled_by="user",
    cleanup_completed=True,
)
FAILED = replace(
    RUNNING,
    state=State.FAILED,
    failed_at=AT + timedelta(seconds=3),
    error="The disk has no room for the archive.",
    error_code="INSUFFICIENT_SPACE",
    retryable=True,
)


def _rows(rows: Any) -> list[dict[str, str]]:
    return [{"id": row.id, "name": row.name, "description": row.description} for row in rows[:2]]


_TRAIL = (
    Transition(_JOB, None, "pending", Reason.SUBMITTED, _USER.id, AT),
    Transition(_JOB, "pending", "processing", Reason.STARTED, "system", AT + timedelta(microseconds=12_034)),
    Transition(_JOB, "processing", "completed", Reason.COMMITTED, "system", AT + timedelta(seconds=6)),
)

ANSWERS: Mapping[type[BaseModel], object] = {
    wire.JobObject: COMPLETED.as_wire(),
    wire.Started: {"success": True, "jobId": _JOB, "message": "Export job started successfully"},
    wire.Cancelled: {
        "success": True,
        "message": "Export job cancelled successfully",
        "jobId": _JOB,
        "status": "cancelled",
        "cancelledAt": wire_time(CANCELLED.cancelled_at),
        "cleanupCompleted": True,
    },
    wire.DownloadToken: {"token": "eyJhbGciOiJIUzI1NiJ9…", "expiresAt": int(AT.timestamp() * 1000) + 600_000},
    wire.Estimated: {"images": 24, "annotations": 512, "bytes": 6_291_456, "warnings": []},
    wire.AuditRow: [row.as_wire() for row in _TRAIL],
    wire.ImagePage: {
        "total": 24,
        "images": [{"id": _IMAGE, "name": "nuclei_001.png", "width": 512, "height": 512, "size": 187_392}],
    },
    wire.Formats: {"annotations": _rows(FORMATS), "metrics": _rows(METRICS)},
    wire.Project: {
        "id": _PROJECT,
        "title": "Nuclei",
        "type": "spheroid",
        "role": "owner",
        "ownerEmail": _USER.email,
        "imageCount": 24,
        "updatedAt": wire_time(AT - timedelta(days=2)),
    },
}
"""By model; those of a list are lists where one is not enough to see what it is."""

MEDIA: Mapping[str, object] = {
    "healthz": {"status": "ok"},
    "readyz": {"status": "ready", "checks": {"catalogue": "ok", "journal": "ok", "space": "ok"}},
}
"""By operation, of answers that have no model."""

_ERRORS: tuple[ExportdError, ...] = (
    InvalidRequest([Problem("options.metricsFormats[1]", "Input should be 'excel', 'csv', 'json' or 'parquet'")]),
    Unauthenticated("Log in first: no access token came with the request."),
    InvalidToken("This download link is invalid or has expired; ask for a new one."),
    ProjectForbidden(),
    NotAllowed("Only who started the export, or the project's owner, may do this."),
    OriginRefused("A page of this origin may not use the export service."),
    NotFound(),
    ExportNotReady("The export is not finished yet.", _JOB, "processing"),
    ExportActive("The export is still active; cancel it first.", _JOB, "processing"),
    ExportCompleted(
        "The export is completed already.", _JOB, "completed", completedAt=wire_time(COMPLETED.completed_at)
    ),
    ExportFailed("The export failed. The disk has no room for the archive.", _JOB, "failed"),
    ExportCancelled("The export was cancelled.", _JOB, "cancelled", cancelledAt=wire_time(CANCELLED.cancelled_at)),
    ExportExpired(
        "The archive was kept for its time and is gone.",
        _JOB,
        "completed",
        expiredAt=wire_time(COMPLETED.expires_at),
    ),
    IdempotencyMismatch(),
    TooManyActive("You have 1 active export; wait for it to end or cancel it.", 12),
    QueueFull("Too many exports wait already; try again later.", 60),
    ShuttingDown("The export service is stopping; try again in a minute.", 60),
    SourceUnavailable(),
    NotReady(
        "The export service cannot work now; its log tells why.",
        30,
        {"catalogue": "failing", "journal": "ok", "space": "ok"},
    ),
    InsufficientSpace(
        "There is not enough room for this export on the service's disk; choose less, or try again later."
    ),
)


def _bodies() -> dict[str, Any]:
    found = {error.code: problems.body(str(error), error.code, **error.details()) for error in _ERRORS}
    found["REQUEST_TIMEOUT"] = problems.body(problems.SENTENCES[408], "REQUEST_TIMEOUT")
    found["BODY_TOO_LARGE"] = problems.body(problems.SENTENCES[413], "BODY_TOO_LARGE")
    found["RANGE_NOT_SATISFIABLE"] = problems.body(
        "The archive has none of the bytes that were asked for.", "RANGE_NOT_SATISFIABLE", jobId=_JOB
    )
    return {code: orjson.loads(body) for code, body in found.items()}


ERRORS: Mapping[str, dict[str, Any]] = _bodies()
"""The body of every error, by its code."""

EVENTS: tuple[tuple[str, Message], ...] = (
    ("An export has begun to work. The first event of each.", events.started(RUNNING)),
    (
        (
            "Counted work, at most ten times a second. It never goes down; when a reader is slow the latest stands for those "
            "before it."
        ),
        events.progress(RUNNING, AT + timedelta(seconds=2)),
    ),
    (
        "The export goes from preparing to processing, or to finalizing.",
        events.phase_changed(RUNNING, "preparing", AT + timedelta(seconds=3)),
    ),
    ("The archive is there. One of the three last events; nothing follows.", events.terminal(COMPLETED)),
    (
        (
            "It could not be done: error is a sentence for a person, and retryable tells whether another try may help. "
            "Nothing follows."
        ),
        events.terminal(FAILED),
    ),
    (
        (
            "A user, the time limit or the system has ended it. Sent once, when all of it is gone (cleanupCompleted: true) or "
            "the time for that has passed. Nothing follows."
        ),
        events.terminal(CANCELLED),
    ),
)
"""Each event with what it means."""


def event_frame(number: int, message: Message) -> dict[str, object]:
    """The event as it goes over the line."""
    return {"event": message.event, "seq": number, "data": message.data}
