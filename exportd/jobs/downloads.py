"""A completed job's archive in a reader's hands, or why there is none."""

from __future__ import annotations

import os
from datetime import datetime
from types import TracebackType

from exportd.core.job import Job, wire_time
from exportd.core.states import State
from exportd.errors import ExportCancelled, ExportExpired, ExportFailed, ExportNotReady, JobConflict


class Download:
    """A completed job's archive, open. Expiry and deletion do not touch who has it open."""

    def __init__(self, job: Job, fd: int) -> None:
        self.job, self.fd = job, fd
        self.size = job.file_size or 0

    def close(self) -> None:
        """Closes the descriptor; again is fine."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_archive(job: Job, now: datetime) -> None:
    """Raises what `no_archive` gives for a job whose archive cannot be had at that moment."""
    if job.state is not State.COMPLETED or job.expired_at is not None or (job.expires_at and job.expires_at <= now):
        raise no_archive(job)


def no_archive(job: Job) -> JobConflict:
    """Why the job has no archive that could be had."""
    match job.state:
        case State.CANCELLED:
            return ExportCancelled(
                "The export was cancelled.", job.id, job.status, cancelledAt=wire_time(job.cancelled_at)
            )
        case State.FAILED:
            return ExportFailed(f"The export failed. {job.error or ''}".strip(), job.id, job.status)
        case State.COMPLETED:
            at = wire_time(job.expired_at or job.expires_at)
            return ExportExpired("The archive was kept for its time and is gone.", job.id, job.status, expiredAt=at)
        case _:
            return ExportNotReady("The export is not finished yet.", job.id, job.status)
