"""All jobs, and the lock under which everything about them is decided.

Methods are plain `def`: they hold the lock for a few dict operations, decide by the transition table and return frozen
values; nothing is awaited, logged or published inside. Waiting (for a task to unwind, for the journal) is the caller's
business, outside. The lock is a thread's lock, since downloads and metrics may ask from other threads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from exportd.core.job import Job, Progress
from exportd.core.states import FINAL, Event, State, after, allows
from exportd.errors import ExportActive, IdempotencyMismatch, InsufficientSpace, NotFound, QueueFull, TooManyActive

T = TypeVar("T")

RETRY_ACTIVE = 5
"""Seconds to come back after, when nothing that runs knows yet how long it still takes."""


@dataclass(frozen=True, slots=True)
class Key:
    """An Idempotency-Key of a user, and what it was used for."""

    user_id: str
    key: str
    digest: str
    created_at: datetime


class Registry:
    """Jobs by id. Every state change of every job happens in `admit`, `apply`, `offer`, `withdraw` or `remove`."""

    def __init__(self, *, max_active_per_user: int, max_active: int) -> None:
        self._max_active_per_user = max_active_per_user
        self._max_active = max_active
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._by_project: dict[str, dict[str, None]] = {}
        self._by_user: dict[str, dict[str, None]] = {}
        self._active: dict[str, set[str]] = {}
        self._keys: dict[tuple[str, str], tuple[Key, str]] = {}

    # --- decisions ---------------------------------------------------------------------------------------------------

    def admit(self, job: Job, key: Key | None = None, room: int | None = None) -> tuple[Job, bool]:
        """Takes a new job in, if the caps allow it and `room` (bytes, all active jobs' together) holds one more; check and
        entry are one step.

        Returns the job and True, or, when `key` was used for the same request before, that job and False.
        Raises `IdempotencyMismatch`, `TooManyActive`, `QueueFull`, `InsufficientSpace`; then nothing was changed.
        """
        with self._lock:
            if key is not None and (known := self._retry(key)) is not None:
                return known, False
            mine = self._active.get(job.user.id, set())
            if len(mine) >= self._max_active_per_user:
                raise TooManyActive(
                    f"You have {len(mine)} active export{'s' if len(mine) != 1 else ''}; wait for it to end or cancel it.",
                    self._patience(mine),
                )
            if sum(map(len, self._active.values())) >= self._max_active:
                raise QueueFull("The queue is full; try again later.", self._patience(()))
            if room is not None:
                self._check_room(job.estimate, room)
            self._insert(job)
            if key is not None:
                self._keys[key.user_id, key.key] = (key, job.id)
            return job, True

    def check_room(self, size: int, room: int) -> None:
        """Raises `InsufficientSpace` when `room` bytes are too few for the archives of all active jobs and `size` more."""
        with self._lock:
            self._check_room(size, room)

    def retry(self, key: Key) -> Job | None:
        """The job that the same request under this key started. Raises `IdempotencyMismatch` for another request."""
        with self._lock:
            return self._retry(key)

    def apply(self, job_id: str, event: Event, **changes: Any) -> Job:
        """The transition that the table has for `event`, with `changes` of fields.

        Raises `IllegalTransition` where the table has none, and `NotFound`; then nothing was changed.
        """
        with self._lock:
            return self._transition(self._get(job_id), event, changes)

    def offer(self, job_id: str, event: Event, **changes: Any) -> tuple[Job, bool]:
        """Like `apply`, but where the table has no entry the job stays as it is: the other side has won.

        Returns the job as it now is, and whether the event was taken.
        """
        with self._lock:
            job = self._get(job_id)
            if not allows(job.state, event):
                return job, False
            return self._transition(job, event, changes), True

    def preview(self, job_id: str, event: Event, **changes: Any) -> Job:
        """The job as `apply` would make it, to be written down before it is shown. Raises what `apply` raises."""
        with self._lock:
            job = self._get(job_id)
            return replace(job, state=after(job.state, event), **changes)

    def progress(self, job_id: str, progress: Progress) -> Job | None:
        """Notes progress of a job that works; percent never goes down. None once its end is decided."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.state is not State.PROCESSING:
                return None
            percent = max(progress.percent, job.progress.percent)
            return self._put(replace(job, progress=replace(progress, percent=percent)))

    def expire(self, job_id: str, at: datetime) -> Job | None:
        """Marks a completed job's archive as gone: from now on nobody can open it. None if it is not there to expire."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.state is not State.COMPLETED or job.expired_at is not None:
                return None
            return self._put(replace(job, expired_at=at))

    def reading(self, job_id: str, opens: Callable[[Job], T]) -> T:
        """What `opens` makes of the job, under the lock: neither expiry nor deletion can come between look and open.

        `opens` must be quick. Raises `NotFound` and whatever `opens` raises.
        """
        with self._lock:
            return opens(self._get(job_id))

    def remove(self, job_id: str) -> Job:
        """Forgets a job that has ended. Raises `ExportActive` while it has not, and `NotFound`."""
        with self._lock:
            job = self._get_ended(job_id)
            self._drop(job)
            return job

    def withdraw(self, job_id: str) -> bool:
        """Forgets a job that could not be written down, as if it had never been admitted; False when its end was decided
        meanwhile, which then has to be told."""
        with self._lock:
            job = self._get(job_id)
            if job.state is not State.PENDING:
                return False
            self._drop(job)
            return True

    def check_ended(self, job_id: str) -> None:
        """Raises `ExportActive` while the job has not ended, and `NotFound`."""
        with self._lock:
            self._get_ended(job_id)

    def restore(self, jobs: Iterable[Job], keys: Iterable[tuple[Key, str]]) -> None:
        """Fills an empty registry from the journal."""
        with self._lock:
            for job in jobs:
                self._insert(job)
            for key, job_id in keys:
                if job_id in self._jobs:
                    self._keys[key.user_id, key.key] = (key, job_id)

    def forget_keys(self, before: datetime) -> None:
        """Drops idempotency keys that are older than `before`."""
        with self._lock:
            self._keys = {k: v for k, v in self._keys.items() if v[0].created_at >= before}

    # --- questions ---------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Raises `NotFound`."""
        with self._lock:
            return self._get(job_id)

    def find(self, job_id: str) -> Job | None:
        """None where there is no such job; found in the same time."""
        with self._lock:
            return self._jobs.get(job_id)

    def of_project(self, project_id: str, limit: int) -> list[Job]:
        """Newest first."""
        with self._lock:
            return self._newest(self._by_project.get(project_id, {}), limit)

    def of_user(self, user_id: str, limit: int) -> list[Job]:
        """Newest first."""
        with self._lock:
            return self._newest(self._by_user.get(user_id, {}), limit)

    def active(self) -> list[Job]:
        """All jobs that have not ended."""
        with self._lock:
            return [self._jobs[i] for ids in self._active.values() for i in ids]

    def all(self) -> list[Job]:
        """All jobs, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def counts(self) -> dict[str, int]:
        """Jobs by their state on the wire."""
        with self._lock:
            counts: dict[str, int] = {}
            for job in self._jobs.values():
                counts[job.status] = counts.get(job.status, 0) + 1
            return counts

    # --- under the lock ------------------------------------------------------------------------------------------------

    def _get(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound from None

    def _get_ended(self, job_id: str) -> Job:
        job = self._get(job_id)
        if job.state not in FINAL:
            raise ExportActive("The export is still active; cancel it first.", job.id, job.status)
        return job

    def _put(self, job: Job) -> Job:
        self._jobs[job.id] = job
        return job

    def _transition(self, job: Job, event: Event, changes: dict[str, Any]) -> Job:
        job = self._put(replace(job, state=after(job.state, event), **changes))
        if job.state in FINAL:
            self._deactivate(job)
        return job

    def _insert(self, job: Job) -> None:
        self._put(job)
        self._by_project.setdefault(job.project_id, {})[job.id] = None
        self._by_user.setdefault(job.user.id, {})[job.id] = None
        if job.state not in FINAL:
            self._active.setdefault(job.user.id, set()).add(job.id)

    def _drop(self, job: Job) -> None:
        del self._jobs[job.id]
        for index, owner in ((self._by_project, job.project_id), (self._by_user, job.user.id)):
            ids = index[owner]
            del ids[job.id]
            if not ids:
                del index[owner]
        self._deactivate(job)
        self._keys = {k: v for k, v in self._keys.items() if v[1] != job.id}

    def _deactivate(self, job: Job) -> None:
        if (ids := self._active.get(job.user.id)) is not None:
            ids.discard(job.id)
            if not ids:
                del self._active[job.user.id]

    def _retry(self, key: Key) -> Job | None:
        if (known := self._keys.get((key.user_id, key.key))) is None:
            return None
        if known[0].digest != key.digest:
            raise IdempotencyMismatch
        return self._jobs[known[1]]

    def _newest(self, ids: dict[str, None], limit: int) -> list[Job]:
        return [self._jobs[i] for i in islice(reversed(ids), limit)]

    def _check_room(self, size: int, room: int) -> None:
        promised = sum(self._jobs[i].estimate for ids in self._active.values() for i in ids)
        if size + promised > room:
            raise InsufficientSpace(
                "There is not enough room for this export on the service's disk; choose less, or try again later."
            )

    def _patience(self, ids: Iterable[str]) -> int:
        """Seconds until the first of these jobs has ended, as it reckons itself. When none of them knows, they wait: until the
        first of all jobs makes room."""
        everybody = (i for active in self._active.values() for i in active)
        known = self._remaining(ids) or self._remaining(everybody)
        return max(1, math.ceil(min(known))) if known else RETRY_ACTIVE

    def _remaining(self, ids: Iterable[str]) -> list[float]:
        jobs = [self._jobs[i] for i in ids]
        # One whose end is decided has nothing left but to tidy up, whatever it reckoned before.
        seconds = [job.progress.remaining if allows(job.state, Event.CANCEL) else 0.0 for job in jobs]
        return [s for s in seconds if s is not None]
