"""A job as a frozen value: what is known of one export at one moment, and the forms it takes on the wire and on disk."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from exportd.core.options import ExportOptions
from exportd.core.states import FINAL, Reason, State
from exportd.core.users import User


def wire_time(moment: datetime | None) -> str | None:
    """ISO 8601 UTC with milliseconds: `2026-01-31T12:00:00.000Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def audit_time(moment: datetime) -> str:
    """ISO 8601 UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is: counted, and never going down."""

    percent: int = 0
    phase: str | None = None
    stage: str | None = None
    current: int = 0
    total: int = 0
    item: str | None = None
    message: str = ""
    remaining: float | None = None
    """Estimated seconds to the end, None while unknown."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the audit trail. `before` is None for the first; states are those of the wire."""

    job_id: str
    before: str | None
    to: str
    reason: Reason
    actor: str
    time: datetime

    def as_wire(self) -> dict[str, object]:
        return {
            "from": self.before,
            "to": self.to,
            "reason": self.reason.value,
            "actor": self.actor,
            "time": audit_time(self.time),
        }


SYSTEM = "system"
"""The actor of what no user did."""


@dataclass(frozen=True, slots=True)
class Job:
    """One export. Changes make a new value; only the registry does so."""

    id: str
    project_id: str
    project_name: str
    user: User
    options: ExportOptions
    created_at: datetime
    state: State = State.PENDING
    progress: Progress = field(default=Progress())
    warnings: tuple[str, ...] = ()
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None
    cancelled_by: str | None = None
    """`user`, `system` or `timeout`."""
    reason: Reason = Reason.SUBMITTED
    """Of the decision that was taken last; with `actor` it makes the audit row."""
    actor: str = SYSTEM
    cleanup_completed: bool | None = None
    error: str | None = None
    """Why it failed, a sentence for a person."""
    error_code: str | None = None
    retryable: bool = False
    file_name: str | None = None
    file_size: int | None = None
    sha256: str | None = None
    expires_at: datetime | None = None
    expired_at: datetime | None = None
    total_images: int = 0
    terminal_seq: int | None = None
    """`seq` of the terminal event, so that it can be told again after a restart."""
    estimate: int = 0
    """Bytes that the archive was estimated to need."""

    @property
    def status(self) -> str:
        """One of the five states of the wire. A decision shows only when its outcome is on disk."""
        if self.state in FINAL:
            return self.state.value
        return State.PENDING.value if self.started_at is None else State.PROCESSING.value

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def as_wire(self, queue_position: int | None = None) -> dict[str, object]:
        """The job object of SPEC §3. Absent values are null, never missing."""
        done = self.state is State.COMPLETED
        cancelled = self.state is State.CANCELLED
        now = self.progress
        stage_progress = None
        if now.stage is not None:
            stage_progress = {"current": now.current, "total": now.total, "currentItem": now.item}
        return {
            "id": self.id,
            "projectId": self.project_id,
            "projectName": self.project_name,
            "userId": self.user.id,
            "status": self.status,
            "progress": now.percent,
            "phase": now.phase,
            "stage": now.stage,
            "stageProgress": stage_progress,
            "message": now.message,
            "options": self.options.model_dump(mode="json", by_alias=True),
            "warnings": list(self.warnings),
            "createdAt": wire_time(self.created_at),
            "startedAt": wire_time(self.started_at),
            "completedAt": wire_time(self.completed_at) if done else None,
            "cancelledAt": wire_time(self.cancelled_at) if cancelled else None,
            "cancelledBy": self.cancelled_by if cancelled else None,
            "errorCode": self.error_code if self.state is State.FAILED else None,
            "queuePosition": queue_position,
            "fileName": self.file_name if done else None,
            "fileSize": self.file_size if done else None,
            "sha256": self.sha256 if done else None,
            "expiresAt": wire_time(self.expires_at) if done else None,
        }

    def as_record(self) -> dict[str, Any]:
        """JSON-ready, complete: `from_record` gives an equal job."""
        record: dict[str, Any] = {}
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            match value:
                case datetime():
                    value = value.isoformat()
                case ExportOptions():
                    value = value.model_dump(mode="json", by_alias=True)
                case User() | Progress():
                    value = dataclasses.asdict(value)
                case tuple():
                    value = list(value)
            record[spec.name] = value
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Job:
        """The job that `as_record` was made of."""
        values = dict(record)
        for name in _TIMES:
            if values.get(name) is not None:
                values[name] = datetime.fromisoformat(values[name])
        values["options"] = _options(orjson.dumps(values["options"]))
        values["user"] = _user(**values["user"])
        values["progress"] = Progress(**values["progress"])
        values["warnings"] = tuple(values["warnings"])
        values["state"] = State(values["state"])
        values["reason"] = Reason(values["reason"])
        return cls(**values)


# Jobs of one journal are much alike. Being frozen, equal values may well be one.


@lru_cache(maxsize=256)
def _options(record: bytes) -> ExportOptions:
    return ExportOptions.model_validate(orjson.loads(record), strict=False)


@lru_cache(maxsize=256)
def _user(id: str, email: str) -> User:  # noqa: A002
    return User(id, email)


_TIMES = ("created_at", "started_at", "completed_at", "failed_at", "cancelled_at", "expires_at", "expired_at")
