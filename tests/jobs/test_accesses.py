"""Who has access, asked again and again: remembered as long as nothing changes, and never longer."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from catalogues import PROJECT, STRANGER, three

from exportd.core.users import Access, User
from exportd.jobs import accesses as module
from exportd.jobs.accesses import Accesses
from exportd.store.catalogue import Catalogue, open_catalogue
from exportd.store.changes import Changes
from exportd.store.embedded import EmbeddedCatalogue, ShareStatus
from exportd.store.engines import FILE_NAME, sqlite_engines

EMAIL = "friend@example.org"


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[EmbeddedCatalogue]:
    with EmbeddedCatalogue(tmp_path) as embedded:
        embedded.insert(PROJECT, "Title", "spheroid", "owner@example.org", three())
        yield embedded


@pytest.fixture
def friend(writer: EmbeddedCatalogue) -> User:
    return writer.share(PROJECT, EMAIL, ShareStatus.ACCEPTED)


@pytest.fixture
def catalogue(writer: EmbeddedCatalogue, tmp_path: Path) -> Iterator[Catalogue]:
    with open_catalogue(None, tmp_path) as opened:
        yield opened


@contextmanager
def no_threads() -> Iterator[None]:
    """No thread can be had meanwhile: whoever needs one waits."""
    limiter = trio.to_thread.current_default_thread_limiter()
    workers = [object() for _ in range(int(limiter.available_tokens))]
    for worker in workers:
        limiter.acquire_on_behalf_of_nowait(worker)
    try:
        yield
    finally:
        for worker in workers:
            limiter.release_on_behalf_of(worker)


async def waits(accesses: Accesses, user: User) -> bool:
    """Whether the catalogue itself has to be asked."""
    with no_threads(), trio.move_on_after(0.05):
        await accesses.look(user, PROJECT)
        return False
    return True


async def test_what_was_told_needs_no_thread_until_something_changes(
    catalogue: Catalogue, writer: EmbeddedCatalogue, friend: User
) -> None:
    accesses = Accesses(catalogue)
    assert await waits(accesses, friend)
    assert await accesses.look(friend, PROJECT) is Access.SHARED
    assert await accesses.look(STRANGER, PROJECT) is None
    with no_threads(), trio.fail_after(10):
        assert await accesses.look(friend, PROJECT) is Access.SHARED
        assert await accesses.look(STRANGER, PROJECT) is None
    writer.add_user("somebody@example.org")
    assert await waits(accesses, friend), "it cannot be known that this was nothing of theirs"


async def test_a_share_that_is_taken_back_is_gone_at_once(
    catalogue: Catalogue, writer: EmbeddedCatalogue, friend: User
) -> None:
    accesses = Accesses(catalogue)
    for _ in range(20):
        assert await accesses.look(friend, PROJECT) is Access.SHARED
        writer.share(PROJECT, EMAIL, ShareStatus.REVOKED)
        assert await accesses.look(friend, PROJECT) is None
        writer.share(PROJECT, EMAIL, ShareStatus.ACCEPTED)


async def test_a_share_that_another_process_takes_back_is_gone_at_once(
    catalogue: Catalogue, tmp_path: Path, friend: User
) -> None:
    accesses = Accesses(catalogue)
    assert await accesses.look(friend, PROJECT) is Access.SHARED
    revoke = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('DELETE FROM project_shares'); db.commit()"
    )
    await trio.run_process([sys.executable, "-c", revoke, tmp_path / FILE_NAME])
    assert await accesses.look(friend, PROJECT) is None


class Slow(Catalogue):
    """Its answers are on their way until `arrive` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(sqlite_engines(path), changes=Changes(path))
        self.found, self.arrive = trio.Event(), threading.Event()

    def access(self, user: User, project_id: str) -> Access | None:
        answer = super().access(user, project_id)
        trio.from_thread.run_sync(self.found.set)
        self.arrive.wait(10)
        return answer


async def test_an_answer_that_was_overtaken_by_a_change_is_not_remembered(
    tmp_path: Path, writer: EmbeddedCatalogue, friend: User
) -> None:
    """Not even when others have looked since, who remember what is so now."""
    with closing(Slow(tmp_path / FILE_NAME)) as slow:
        accesses = Accesses(slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accesses.look, friend, PROJECT)
            await slow.found.wait()
            writer.share(PROJECT, EMAIL, ShareStatus.REVOKED)
            nursery.start_soon(accesses.look, STRANGER, PROJECT)
            await trio.testing.wait_all_tasks_blocked()
            slow.arrive.set()
        assert await accesses.look(friend, PROJECT) is None


async def test_answers_of_another_programs_database_are_not_remembered(tmp_path: Path, friend: User) -> None:
    with open_catalogue(f"sqlite:///{tmp_path / FILE_NAME}", tmp_path) as other:
        accesses = Accesses(other)
        assert await accesses.look(friend, PROJECT) is Access.SHARED
        assert await waits(accesses, friend)


async def test_what_is_remembered_is_bounded(
    catalogue: Catalogue, friend: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    accesses = Accesses(catalogue)
    for number in range(10):
        assert await accesses.look(User(str(number), ""), PROJECT) is None
        assert len(accesses._known) <= 3
    assert await accesses.look(friend, PROJECT) is Access.SHARED


def test_a_writer_in_its_transaction_keeps_nobody_waiting(catalogue: Catalogue, tmp_path: Path) -> None:
    before = catalogue.changes()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM project_shares")
        assert catalogue.changes() == before
        db.execute("COMMIT")
        assert catalogue.changes() != before


def test_a_catalogue_that_is_closed_tells_nothing(catalogue: Catalogue) -> None:
    catalogue.close()
    assert catalogue.changes() is None


def test_a_lock_is_not_waited_for(tmp_path: Path) -> None:
    """A file that is in WAL mode is hardly ever locked for readers; another one is by every writer."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE t (x)")
        with closing(Changes(path)) as changes:
            before = changes.count()
            db.execute("BEGIN EXCLUSIVE")
            assert changes.count() is None
            assert changes._db.execute("PRAGMA busy_timeout").fetchone() == (0,)
            db.execute("INSERT INTO t VALUES (1)")
            db.execute("COMMIT")
            assert changes.count() not in (None, before)
