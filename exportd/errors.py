"""Every error that exportd raises on purpose, named for what the caller can do about it.

`code` is the wire code (SPEC §3). What a program needs to react stands in attributes; `details()` gives those that
belong into an error body, under their wire names. The message is a sentence for a person and never holds a path of
the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple


class ExportdError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "INTERNAL_ERROR"

    def details(self) -> Mapping[str, object]:
        """What the error body carries beside the sentence and the code, JSON-ready."""
        return {}


class SettingsError(ExportdError):
    """A setting or command-line value is wrong; nothing was started."""

    code = "INVALID_SETTINGS"


class DataDirectoryInUse(ExportdError):
    """Another exportd process serves this data directory."""

    code = "DATA_DIRECTORY_IN_USE"


class DataDirectoryUnusable(ExportdError):
    """The data directory or the journal in it cannot be opened or is from a newer version."""

    code = "DATA_DIRECTORY_UNUSABLE"


class IllegalTransition(ExportdError):
    """A programming error: an event that the transition table does not allow. Nothing was changed."""

    def __init__(self, state: object, event: object) -> None:
        super().__init__(f"{event} is not allowed in state {state}")
        self.state, self.event = state, event


# --- requests ------------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """One fault of a request and its place, for example `options.metricsFormats[1]`."""

    path: str
    msg: str


MAX_PROBLEMS = 100
"""Faults that a request is told: a body of a megabyte can have half a million, and each costs more than it took to send."""


class InvalidRequest(ExportdError):
    """The request cannot be understood or asks for something impossible; the first `MAX_PROBLEMS` faults are listed."""

    code = "VALIDATION_ERROR"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.path}: {p.msg}" for p in problems[:3]))
        self.problems = tuple(problems[:MAX_PROBLEMS])

    def details(self) -> Mapping[str, object]:
        return {"errors": [p._asdict() for p in self.problems]}


class Unauthenticated(ExportdError):
    """No valid identity came with the request."""

    code = "UNAUTHORIZED"


class InvalidToken(ExportdError):
    """A download token or login ticket is invalid, expired or for something else."""

    code = "INVALID_TOKEN"


class ProjectForbidden(ExportdError):
    """No such project, or no access to it: the caller cannot tell which."""

    code = "FORBIDDEN"

    def __init__(self) -> None:
        super().__init__("There is no such project, or you have no access to it.")


class NotAllowed(ExportdError):
    """The caller may see the job and may not do this to it."""

    code = "NOT_ALLOWED"


class OriginRefused(ExportdError):
    """A browser page of another origin asked."""

    code = "ORIGIN_REFUSED"


class NotFound(ExportdError):
    """No such project or job, or no access to it: the caller cannot tell which."""

    code = "NOT_FOUND"

    def __init__(self, what: str = "export") -> None:
        super().__init__(f"There is no such {what}, or you have no access to it.")


class _Limit(ExportdError):
    """A limit that passes; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyActive(_Limit):
    """The user has as many active jobs as one user may have."""

    code = "TOO_MANY_ACTIVE_EXPORTS"


class QueueFull(_Limit):
    """The queue has no place left."""

    code = "QUEUE_FULL"


class TooManySessions(_Limit):
    """There is no place left for another Socket.IO session."""

    code = "TOO_MANY_SESSIONS"


class ShuttingDown(_Limit):
    """The daemon drains and takes no new jobs."""

    code = "SHUTTING_DOWN"


class NotReady(_Limit):
    """What the service stands on does not work now: no call that needs it can be answered."""

    code = "NOT_READY"

    def __init__(self, message: str, retry_after: int, checks: Mapping[str, str] | None = None) -> None:
        super().__init__(message, retry_after)
        self.checks = dict(checks or {})

    def details(self) -> Mapping[str, object]:
        return {"checks": self.checks}


class InsufficientSpace(ExportdError):
    """The disk has no room for the archive, before the start or while it is written."""

    code = "INSUFFICIENT_SPACE"


class IdempotencyMismatch(ExportdError):
    """The Idempotency-Key was used for another request."""

    code = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for a different request; send a new key.")


# --- the state of a job stands against it -----------------------------------------------------------------------------


class JobConflict(ExportdError):
    """The job's state does not allow the request. `job_id`, `status` and the matching time go into the body."""

    def __init__(self, message: str, job_id: str, status: str, **times: str | None) -> None:
        super().__init__(message)
        self.job_id, self.status, self.times = job_id, status, times

    def details(self) -> Mapping[str, object]:
        return {"jobId": self.job_id, "status": self.status, **self.times}


class ExportNotReady(JobConflict):
    """Pending or processing: there is no archive yet."""

    code = "EXPORT_NOT_READY"


class ExportActive(JobConflict):
    """Pending or processing: cancel it first."""

    code = "EXPORT_ACTIVE"


class ExportCompleted(JobConflict):
    """A completed export cannot be cancelled."""

    code = "EXPORT_COMPLETED"


class ExportFailed(JobConflict):
    """A failed export has no archive and cannot be cancelled."""

    code = "EXPORT_FAILED"


class ExportCancelled(JobConflict):
    """A cancelled export has no archive, now or ever."""

    code = "EXPORT_CANCELLED"


class ExportExpired(JobConflict):
    """The archive was kept for its time and is gone."""

    code = "EXPORT_EXPIRED"


# --- why an export fails (SPEC §4, errorCode) ---------------------------------------------------------------------------


class SourceError(ExportdError):
    """The project's source has nothing that can be exported, or went away while it was read."""

    code = "SOURCE_ERROR"


class SourceUnavailable(SourceError):
    """The database of the projects does not answer now; `retry_after` is in seconds."""

    code = "SOURCE_UNAVAILABLE"

    def __init__(self, retry_after: int = 5) -> None:
        super().__init__("The database of the projects does not answer now; try again in a moment.")
        self.retry_after = retry_after


class SourceChanged(SourceError):
    """An image that was readable when the export began no longer is; `image_id` names it."""

    def __init__(self, image_id: str, reason: str) -> None:
        super().__init__(reason)
        self.image_id, self.reason = image_id, reason


class UnreadableImage(SourceError):
    """This image cannot be read; `reason` is a phrase for a person, `missing` tells that there is no such file."""

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.missing = reason, missing


class ImportFailed(ExportdError):
    """The file to import is not what it should be; nothing was imported."""

    code = "IMPORT_FAILED"


# --- talking to a daemon (client) ---------------------------------------------------------------------------------------


class Unreachable(ExportdError):
    """No daemon answers."""

    code = "UNREACHABLE"


class ServerRefused(ExportdError):
    """The daemon refused a request: its HTTP `status`, wire code and body."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(str(body.get("error") or f"the daemon answered {status}"))
        self.status, self.body = status, body


class ChecksumMismatch(ExportdError):
    """What was downloaded is not what the daemon announced; the file was removed."""

    code = "CHECKSUM_MISMATCH"
