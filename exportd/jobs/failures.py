"""Why an export failed, in the words of the contract."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from exportd.core.states import Reason
from exportd.errors import InsufficientSpace, SourceError, SourceUnavailable
from exportd.jobs.runner import leaves

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Failure:
    """What the audit trail, the event and the status tell. The sentence holds no path of the server."""

    reason: Reason
    code: str
    sentence: str
    retryable: bool
    expected: bool = True
    """False: nobody foresaw it, so the log gets the traceback."""


def diagnose(error: BaseException) -> Failure:
    """The failure that an error, or the gravest error of a group, stands for."""
    causes = list(leaves(error))
    for cause in causes:
        if isinstance(cause, InsufficientSpace) or (isinstance(cause, OSError) and cause.errno in _FULL):
            return Failure(
                Reason.INSUFFICIENT_SPACE,
                "INSUFFICIENT_SPACE",
                "The disk of the export service is full; try again when there is room, or ask for less.",
                retryable=True,
            )
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in _FORBIDDEN:
            return Failure(
                Reason.INTERNAL_ERROR,
                "PERMISSION_DENIED",
                "The export service may not write its files; its operator has to mend the permissions.",
                retryable=False,
            )
    for cause in causes:
        if isinstance(cause, SourceError):
            away = isinstance(cause, SourceUnavailable)
            return Failure(Reason.SOURCE_ERROR, "SOURCE_ERROR", str(cause), retryable=away)
    return Failure(
        Reason.INTERNAL_ERROR,
        "UNKNOWN",
        "The export failed by an error of the service; try again, and tell its operator if it persists.",
        retryable=True,
        expected=False,
    )


INTERRUPTED = Failure(
    Reason.INTERRUPTED,
    "INTERRUPTED",
    "The export service stopped before the export was finished; start it again.",
    True,
)
