"""What a feed carries: the events of SPEC §4 as frames, the log they are replayed from, and the outbox of one reader.

The order of a job's events is `started, (progress | phase-changed)*, one of completed | failed | cancelled`. `Log` numbers
them and has the gate: once `closed_by_cancel` was called, nothing but the cancelled event can be added, and what was
logged before is not told again. `Outbox` merges progress for a reader that is slow (the latest wins) and never drops
anything else; a reader for whom even that is too much is overrun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from exportd.core.job import Job, wire_time
from exportd.core.states import State

STARTED = "export:started"
PROGRESS = "export:progress"
PHASE_CHANGED = "export:phase-changed"
COMPLETED = "export:completed"
FAILED = "export:failed"
CANCELLED = "export:cancelled"
TERMINAL = frozenset({COMPLETED, FAILED, CANCELLED})

MAX_LOGGED = 1000
"""Frames that are kept of one job for a replay; beyond it the oldest progress goes first."""

MAX_OUTBOX = 1000
"""Frames that may wait for one reader, progress merged; beyond it the reader is cut off."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event without its number."""

    event: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class Frame:
    """An event as it goes out. `order` counts the frames of all jobs, `seq` those of its own."""

    event: str
    seq: int
    order: int
    job_id: str
    project_id: str
    payload: bytes = field(repr=False)
    """The JSON text, made once for all readers."""

    @property
    def data(self) -> bytes:
        """The JSON text of the data alone: the last value of the payload, after a name and a number that cannot look
        like its key."""
        return self.payload[self.payload.index(_DATA) + len(_DATA) : -1]


_DATA = b'"data":'


def frame(message: Message, job: Job, seq: int, order: int) -> Frame:
    """The frame of an event of `job`."""
    payload = orjson.dumps({"event": message.event, "seq": seq, "data": message.data})
    return Frame(message.event, seq, order, job.id, job.project_id, payload)


def _data(job: Job, at: datetime | None, **values: object) -> dict[str, object]:
    return {"jobId": job.id, "projectId": job.project_id, "timestamp": wire_time(at), **values}


def started(job: Job) -> Message:
    options = job.options.model_dump(mode="json", by_alias=True)
    return Message(STARTED, _data(job, job.started_at, projectName=job.project_name, options=options))


def progress(job: Job, at: datetime) -> Message:
    now = job.progress
    return Message(
        PROGRESS,
        _data(
            job,
            at,
            progress=now.percent,
            phase=now.phase,
            stage=now.stage,
            stageProgress={"current": now.current, "total": now.total, "currentItem": now.item},
            message=now.message,
            estimatedTimeRemaining=now.remaining,
        ),
    )


def phase_changed(job: Job, before: str, at: datetime) -> Message:
    now = job.progress
    return Message(
        PHASE_CHANGED,
        _data(job, at, fromPhase=before, toPhase=now.phase, progress=now.percent, message=now.message),
    )


def terminal(job: Job) -> Message:
    """The last event of a job that has ended; made of the job alone, so that it is the same after a restart."""
    match job.state:
        case State.COMPLETED:
            return Message(
                COMPLETED,
                _data(
                    job,
                    job.completed_at,
                    fileName=job.file_name,
                    fileSize=job.file_size,
                    sha256=job.sha256,
                    processingTime=_seconds(job),
                    warnings=list(job.warnings),
                    summary={"totalImages": job.total_images, "includedFormats": _formats(job)},
                ),
            )
        case State.CANCELLED:
            who = {"user": "a user", "timeout": "its time limit"}.get(job.cancelled_by or "", "the system")
            return Message(
                CANCELLED,
                _data(
                    job,
                    job.cancelled_at,
                    cancelledBy=job.cancelled_by,
                    progress=job.progress.percent,
                    cleanupCompleted=job.cleanup_completed,
                    message=f"The export was cancelled by {who}.",
                ),
            )
        case State.FAILED:
            return Message(
                FAILED,
                _data(
                    job,
                    job.failed_at,
                    error=job.error,
                    errorCode=job.error_code,
                    stage=job.progress.stage,
                    retryable=job.retryable,
                ),
            )
        case _:
            raise ValueError(f"a job that is {job.state} has no terminal event")


def _seconds(job: Job) -> float | None:
    if job.started_at is None or job.completed_at is None:
        return None
    return max(0.0, round((job.completed_at - job.started_at).total_seconds(), 3))  # the clock may have been set back


def _formats(job: Job) -> list[str]:
    return [*job.options.annotation_formats, *job.options.metrics_formats]


class Log:
    """The frames of one job of this user, numbered from 1, as far as they are kept for a replay."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.last_seq = 0
        self._frames: deque[Frame] = deque()
        self._cancelled = False
        self._ended = False

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def ended(self) -> bool:
        return self._ended

    def close_by_cancel(self) -> None:
        """Shuts the gate: nothing but the cancelled event can be added, and nothing of before is told again."""
        self._cancelled = True
        self._frames.clear()

    def add(self, message: Message, job: Job, order: int) -> Frame | None:
        """The numbered frame, or None when the gate is shut for it."""
        if self._ended or (self._cancelled and message.event != CANCELLED):
            return None
        self.last_seq += 1
        made = frame(message, job, self.last_seq, order)
        self._ended = message.event in TERMINAL
        self._frames.append(made)
        if len(self._frames) > MAX_LOGGED:
            self._thin()
        return made

    def since(self, seq: int) -> Iterator[Frame]:
        """Frames with a higher number, in order."""
        return (f for f in self._frames if f.seq > seq)

    def _thin(self) -> None:
        for i, old in enumerate(self._frames):
            if old.event == PROGRESS:
                del self._frames[i]
                return


class Outbox:
    """What waits for one reader. Bounded: progress of a job is merged, the rest counts against `MAX_OUTBOX`."""

    def __init__(self) -> None:
        self._backlog: deque[Frame] = deque()
        self._live: deque[Frame] = deque()
        self._mergeable: dict[str, int] = {}
        self._popped = 0
        self.overrun = False

    def __len__(self) -> int:
        return len(self._backlog) + len(self._live)

    def replay(self, frames: Iterator[Frame]) -> None:
        """Frames that the reader has asked for again: told one by one, before what is live."""
        if not self.overrun:
            self._backlog.extend(frames)
            self._bound()

    def put(self, new: Frame) -> None:
        """Adds a live frame. Progress replaces progress of the same job that has not been read yet."""
        if self.overrun:
            return
        if new.event == PROGRESS:
            place = self._mergeable.get(new.job_id)
            if place is not None and place >= self._popped:
                self._live[place - self._popped] = new
                return
            self._mergeable[new.job_id] = self._popped + len(self._live)
        else:
            # Progress may move up to where it stands, but never past another event of its job.
            self._mergeable.pop(new.job_id, None)
        self._live.append(new)
        self._bound()

    def _bound(self) -> None:
        """Who is overrun is told nothing more: who never reads may not notice for long, and what waits would only grow."""
        if len(self._live) > MAX_OUTBOX or len(self._backlog) > 4 * MAX_LOGGED:
            self.overrun = True
            self._backlog.clear()
            self._live.clear()

    def take(self) -> Frame | None:
        """The next frame, or None."""
        if self._backlog:
            return self._backlog.popleft()
        if self._live:
            self._popped += 1
            return self._live.popleft()
        return None

    def purge(self, job_id: str) -> None:
        """Drops whatever waits of a job: its cancel was decided."""
        self._backlog = deque(f for f in self._backlog if f.job_id != job_id)
        self._live = deque(f for f in self._live if f.job_id != job_id)
        self._mergeable.clear()  # their places have moved; the next progress just stands on its own
