"""At start: what a crash has left becomes what the contract says (SPEC §2). Blocking; before anything else works."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import structlog

from exportd.core.job import SYSTEM, Job, Transition
from exportd.core.registry import Registry
from exportd.core.states import FINAL, State
from exportd.jobs.failures import INTERRUPTED
from exportd.jobs.retention import INTERRUPTED_SEQ_GAP, has_archive
from exportd.jobs.telemetry import Telemetry
from exportd.store.artifacts import Artifacts, Wanted
from exportd.store.journal import Change, Journal, SaveJob

log = structlog.get_logger("exportd.recovery")


def recover(journal: Journal, artifacts: Artifacts, registry: Registry, telemetry: Telemetry, now: datetime) -> None:
    """Fills the registry from the journal. Raises `DataDirectoryUnusable` and what `Journal.commit` raises.

    Unfinished jobs are failed (`interrupted`). A completed job whose archive is not what was committed is expired: its
    bytes cannot be given any more. Files of nobody are swept.
    """
    jobs: list[Job] = []
    changes: list[Change] = []
    torn: list[Job] = []
    for job in journal.jobs():
        if job.state not in FINAL:
            found, change = _interrupted(job, now)
            torn.append(job)
        elif has_archive(job) and artifacts.size(job.id) != job.file_size:
            if job.expires_at is None or job.expires_at > now:
                log.error("archive_lost", job=job.id)
            found = replace(job, expired_at=now)
            change = SaveJob(found)
        else:
            jobs.append(job)
            continue
        jobs.append(found)
        changes.append(change)
    # Before anything is written: what a crash has left may be what fills the disk. Files decide nothing from here on.
    whole = Wanted({job.id for job in jobs if has_archive(job)})
    swept = artifacts.sweep(lambda: whole)
    if swept.stuck:
        log.error("orphans_not_removed", count=len(swept.stuck), first=swept.stuck[0])
    if changes:
        journal.commit(changes)
    registry.restore(jobs, journal.keys())
    for job in torn:
        telemetry.transition(registry.get(job.id), job.status)  # how long it lasted nobody knows
    log.info("recovered", jobs=len(jobs), changed=len(changes), swept=len(swept.removed))


def _interrupted(job: Job, now: datetime) -> tuple[Job, SaveJob]:
    failed = replace(
        job,
        state=State.FAILED,
        failed_at=now,
        error=INTERRUPTED.sentence,
        error_code=INTERRUPTED.code,
        retryable=INTERRUPTED.retryable,
        reason=INTERRUPTED.reason,
        actor=SYSTEM,
        terminal_seq=(job.terminal_seq or 0) + INTERRUPTED_SEQ_GAP,
    )
    row = Transition(job.id, job.status, failed.status, failed.reason, failed.actor, now)
    return failed, SaveJob(failed, row)
