"""A journal of many jobs that have ended long ago, written by the journal itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from benches.ground import OWNER, Ground, Place
from benches.projects import Plan
from exportd.core.job import SYSTEM, Job, Progress, Transition
from exportd.core.options import ExportOptions
from exportd.core.states import Reason, State
from exportd.core.users import User
from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.journal import FILE_NAME, Journal, SaveJob

PLAN = Plan(images=2, side=128, polygons=3)
"""A small project, whose jobs they are."""
BATCH = 500


def place(ground: Ground) -> tuple[Place, str]:
    """A data directory with 10,000 jobs in its journal, and the id of one of them."""
    found, count = ground.place(PLAN), ground.size(10_000, 100)
    with EmbeddedCatalogue(found.data) as catalogue:
        user = catalogue.add_user(OWNER)
    if not (found.data / FILE_NAME).exists():
        _fill(found, user, count)
    return found, _id(count // 2)


def _fill(found: Place, user: User, count: int) -> None:
    journal = Journal(found.data)
    now = datetime.now(UTC)
    try:
        for begin in range(0, count, BATCH):
            numbers = range(begin, min(begin + BATCH, count))
            journal.commit([save for n in numbers for save in _saves(_job(found, user, n, now))])
    finally:
        journal.close()


def _id(number: int) -> str:
    return str(uuid.UUID(int=(0xBE << 120) + number))


def _job(found: Place, user: User, number: int, now: datetime) -> Job:
    """Two of three completed, as long ago as an archive is gone; the others were cancelled."""
    at = now - timedelta(days=2, seconds=number)
    done = number % 3 > 0
    return Job(
        id=_id(number),
        project_id=found.project,
        project_name="Bench",
        user=user,
        options=ExportOptions(include_original_images=True, annotation_formats=("coco", "yolo")),
        created_at=at,
        state=State.COMPLETED if done else State.CANCELLED,
        progress=Progress(100 if done else 40, "processing", "images", 2, 2, "plate_00001.png", "Images"),
        started_at=at,
        completed_at=at if done else None,
        cancelled_at=None if done else at,
        cancelled_by=None if done else "user",
        reason=Reason.COMMITTED if done else Reason.USER_CANCELLATION,
        actor=SYSTEM if done else user.id,
        cleanup_completed=None if done else True,
        file_name="bench.zip" if done else None,
        file_size=123_456 if done else None,
        sha256="0" * 64 if done else None,
        expires_at=at if done else None,
        expired_at=at if done else None,
        terminal_seq=20,
    )


def _saves(job: Job) -> Iterator[SaveJob]:
    """With the three transitions that it has gone through."""
    rows = [(None, "pending", Reason.SUBMITTED), ("pending", "processing", Reason.STARTED)]
    rows.append(("processing", job.status, job.reason))
    for before, to, reason in rows:
        yield SaveJob(job, Transition(job.id, before, to, reason, job.actor, job.created_at))
