"""The journal remembers what was committed, all of it or nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exportd.core.job import Job, Transition
from exportd.core.options import ExportOptions
from exportd.core.registry import Key
from exportd.core.states import Reason, State
from exportd.core.users import User
from exportd.errors import DataDirectoryUnusable, InsufficientSpace
from exportd.store.journal import FILE_NAME, AddRow, ForgetJob, Journal, Purge, SaveJob, read_audit

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
JOB = Job("j", "p", "Title", User("u", "u@example.org"), ExportOptions(annotation_formats=("coco",)), T0)
SUBMITTED = Transition("j", None, "pending", Reason.SUBMITTED, "u", T0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path)) as journal:
        yield journal


def test_what_was_committed_is_found_again(tmp_path: Path, journal: Journal) -> None:
    key = Key("u", "k", "digest", T0)
    done = replace(JOB, state=State.COMPLETED, completed_at=T0)
    journal.commit([SaveJob(JOB, SUBMITTED, key)])
    journal.commit([SaveJob(done, Transition("j", "pending", "completed", Reason.COMMITTED, "system", T0))])
    journal.close()
    with closing(Journal(tmp_path)) as again:
        assert again.jobs() == [done]
        assert again.keys() == [(key, "j")]
        assert [(t.before, t.to) for t in again.audit("j")] == [(None, "pending"), ("pending", "completed")]


def test_a_commit_that_fails_leaves_nothing(journal: Journal) -> None:
    with pytest.raises(AttributeError):
        journal.commit([SaveJob(JOB, SUBMITTED), SaveJob(None)])  # type: ignore[arg-type]
    assert journal.jobs() == []
    assert journal.audit("j") == []
    journal.commit([SaveJob(JOB)])


def test_audit_rows_outlive_the_job_for_their_time(tmp_path: Path, journal: Journal) -> None:
    journal.commit([SaveJob(JOB, SUBMITTED), ForgetJob("j")])
    assert journal.jobs() == []
    assert read_audit(tmp_path, "j") == [SUBMITTED]
    journal.commit([Purge(T0, T0)])
    assert len(journal.audit("j")) == 1
    journal.commit([Purge(T0 + timedelta(seconds=1), T0)])
    assert journal.audit("j") == []


def test_audit_rows_of_a_job_that_is_kept_are_kept(journal: Journal) -> None:
    journal.commit([SaveJob(JOB, SUBMITTED), Purge(T0 + timedelta(days=99), T0)])
    assert journal.audit("j") == [SUBMITTED]


def test_a_newer_or_broken_journal_is_refused_in_words(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(DataDirectoryUnusable, match="newer exportd"):
        Journal(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"not a data base" * 100)
    with pytest.raises(DataDirectoryUnusable, match="cannot be opened"):
        Journal(tmp_path)


def test_a_journal_that_is_damaged_inside_is_refused_in_words(tmp_path: Path) -> None:
    with closing(Journal(tmp_path)) as journal:
        journal.commit([SaveJob(replace(JOB, id=str(n)), SUBMITTED) for n in range(50)])
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    for page in range(1, len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + b"\x55" * 4096 + whole[(page + 1) * 4096 :])
        with pytest.raises(DataDirectoryUnusable, match="cannot be opened"):
            Journal(tmp_path)


def test_a_record_that_makes_no_sense_is_refused_in_words(tmp_path: Path, journal: Journal) -> None:
    journal.commit([SaveJob(JOB, SUBMITTED)])
    for record in ("{", "{}", '{"times": 1}'):
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
            db.execute("UPDATE jobs SET record = ?", (record,))
        with pytest.raises(DataDirectoryUnusable, match="makes no sense"):
            journal.jobs()


def test_a_full_disk_and_one_that_may_not_be_written_have_names(journal: Journal) -> None:
    journal._db.execute("PRAGMA max_page_count = 1")  # SQLite takes it as: as large as it is, and no larger
    with pytest.raises(InsufficientSpace):
        journal.commit([SaveJob(replace(JOB, project_name="x" * 50_000), SUBMITTED)])
    assert journal.jobs() == []
    journal._db.execute("PRAGMA query_only = ON")
    with pytest.raises(PermissionError):
        journal.commit([SaveJob(JOB, SUBMITTED)])


def test_transitions_that_were_missed_come_before_the_next(journal: Journal) -> None:
    started = Transition("j", "pending", "processing", Reason.STARTED, "system", T0)
    failed = Transition("j", "processing", "failed", Reason.INTERNAL_ERROR, "system", T0)
    journal.commit([SaveJob(JOB, SUBMITTED)])
    journal.commit([AddRow(started), SaveJob(replace(JOB, state=State.FAILED), failed)])
    assert journal.audit("j") == [SUBMITTED, started, failed]


def test_no_journal_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryUnusable, match="no readable journal"):
        read_audit(tmp_path, "j")
