"""The catalogue against a real PostgreSQL: it cannot write, waits for nobody without end, and outlives restarts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
import structlog.testing
from catalogues import OTHER, PROJECT, STRANGER, three
from gateway import Gateway, open_gateway
from postgres import PATIENCE, Platform, Server, eventually

from exportd.core.users import Access, User
from exportd.errors import SettingsError, SourceError, SourceUnavailable
from exportd.store import postgresql
from exportd.store.catalogue import Catalogue, open_catalogue

SOON = 5.0
"""Seconds; what takes a fraction of one takes less than that on a busy machine too."""


@pytest.fixture
def owner(platform: Platform) -> User:
    return platform.insert(PROJECT, "Title", "spheroid", "owner@example.org", three())


@pytest.fixture
def catalogue(platform: Platform, owner: User) -> Iterator[Catalogue]:
    with opened(platform.url) as catalogue:
        yield catalogue


def opened(address: str, listen: Callable[[], None] = lambda: None) -> Catalogue:
    return open_catalogue(address, Path("unused"), listen)


@contextmanager
def locked(platform: Platform, table: str = "images") -> Iterator[None]:
    """Whoever reads the table waits until the block ends."""
    with platform.connect() as session:
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        session.rollback()


# --- reading only ---------------------------------------------------------------------------------------------------


def test_every_session_is_read_only_whoever_the_role_is(catalogue: Catalogue) -> None:
    with catalogue.snapshot() as snapshot:
        for known in (catalogue, snapshot):
            assert known._reader.rows(sa.text("SHOW transaction_read_only")) == [("on",)]
    with structlog.testing.capture_logs() as logged, pytest.raises(SourceError):
        catalogue._reader.rows(sa.text("CREATE TABLE images2 (id TEXT)"))
    assert "read-only transaction" in logged[0]["error"]


def test_a_snapshot_is_one_repeatable_read_transaction(catalogue: Catalogue) -> None:
    with catalogue.snapshot() as snapshot:
        begun = [snapshot._reader.rows(sa.text("SELECT now()")) for _ in range(2)]
        assert begun[0] == begun[1]
        assert snapshot._reader.rows(sa.text("SHOW transaction_isolation")) == [("repeatable read",)]


def test_the_role_of_the_readme_may_do_all_that_exportd_does(platform: Platform, owner: User, role: str) -> None:
    with opened(platform.address(role)) as catalogue, catalogue.snapshot() as snapshot:
        for known in (catalogue, snapshot):
            assert known.access(owner, PROJECT) is Access.OWNER
            assert known.access(STRANGER, PROJECT) is None
            assert known.project(PROJECT) is not None
            assert [p.images for p in known.projects(owner)] == [3]
            assert known.users() == [known.user(email="OWNER@example.org")] == [owner]
            assert len(known.images(PROJECT, None)) == len(known.images(PROJECT, ["i0", "i1", "i2"])) == 3
            assert known.unknown_images(PROJECT, ["i0", "i9"]) == [1]
            assert sum(row is not None for row in known.each_segmentation(["i0", "i1"])) == 2
            assert known.totals(PROJECT, None).annotations == 3
            assert known.totals(PROJECT, ["i2"]).annotations == 2


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT password FROM users",
        "SELECT * FROM images",
        "DELETE FROM images",
        "UPDATE projects SET title = 'x'",
        "INSERT INTO users (id, email) VALUES ('x', 'x')",
        "TRUNCATE segmentations",
    ],
)
def test_the_role_of_the_readme_may_do_nothing_else(platform: Platform, role: str, statement: str) -> None:
    with (
        psycopg.connect(platform.address(role, options="-c default_transaction_read_only=off")) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute(statement.encode())


# --- addresses ------------------------------------------------------------------------------------------------------


def test_an_address_of_prisma_is_understood(platform: Platform, owner: User) -> None:
    query = {"schema": "public", "connection_limit": "5", "pool_timeout": "2", "pgbouncer": "true", "sslmode": "prefer"}
    with opened(platform.address(**query).replace("postgresql:", "postgres:")) as catalogue:
        assert catalogue.users() == [owner]


def test_another_schema_is_read_whatever_it_is_called(platform: Platform, owner: User) -> None:
    platform.execute('ALTER SCHEMA public RENAME TO "My \\""s"')
    with opened(platform.address(schema='My \\"s')) as catalogue, catalogue.snapshot() as snapshot:
        assert catalogue.users() == snapshot.users() == [owner]


def test_options_of_the_address_hold_but_cannot_allow_writing(platform: Platform, owner: User) -> None:
    given = "-c default_transaction_read_only=off -c geqo_threshold=17"
    with opened(platform.address(options=given)) as catalogue:
        shown = [catalogue._reader.rows(sa.text(f"SHOW {name}"))[0][0] for name in
                 ("geqo_threshold", "default_transaction_read_only", "statement_timeout",
                  "idle_in_transaction_session_timeout")]  # fmt: skip
    assert shown == ["17", "on", "30s", "1h"]


@pytest.mark.parametrize(
    ("database", "said"),
    [("nowhere", 'database "nowhere" does not exist'), ("postgres", 'relation "projects" does not')],
)
def test_a_database_that_cannot_be_used_is_refused_with_its_words(postgres: Server, database: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"{said}.*EXPORTD_DATABASE_URL"):
        opened(postgres.address(database))


# --- a server that goes away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [False, True], ids=["shut down", "crashed"])
def test_lookups_do_not_notice_that_the_server_was_restarted(
    platform: Platform, catalogue: Catalogue, owner: User, at_once: bool
) -> None:
    def look(_: int) -> bool:
        return catalogue.access(owner, PROJECT) is Access.OWNER

    with ThreadPoolExecutor(16) as pool, structlog.testing.capture_logs() as logged:
        assert all(pool.map(look, range(100)))
        assert len(platform.sessions()) > 1
        platform.server.restart(at_once=at_once)
        assert all(pool.map(look, range(100)))
    assert not logged


def test_a_server_that_is_away_is_told_at_once_and_found_again(
    platform: Platform, catalogue: Catalogue, owner: User
) -> None:
    catalogue.users()
    platform.server.stop()
    try:
        for ask in (catalogue.users, catalogue.snapshot):
            begun = time.monotonic()
            with pytest.raises(SourceUnavailable, match="try again") as caught:
                ask()
            assert time.monotonic() - begun < SOON
            assert str(platform.server.directory) not in str(caught.value)
    finally:
        platform.server.start()
    assert catalogue.users() == [owner]


def test_a_snapshot_that_was_lost_fails_and_does_not_become_another_one(
    platform: Platform, catalogue: Catalogue
) -> None:
    with catalogue.snapshot() as snapshot:
        assert snapshot.project(OTHER) is None
        platform.server.restart()
        platform.insert(OTHER, "New", "x", "owner@example.org", [])
        for _ in range(2):
            with pytest.raises(SourceError):
                snapshot.project(OTHER)
    assert catalogue.project(OTHER) is not None


def test_more_lookups_than_connections_wait_for_each_other(platform: Platform, owner: User) -> None:
    with opened(platform.url) as catalogue, ThreadPoolExecutor(4 * postgresql.POOL) as pool:
        assert all(pool.map(lambda _: catalogue.users() == [owner], range(500)))
        assert 1 < len(platform.sessions()) <= postgresql.POOL


def test_a_snapshot_takes_no_connection_from_the_lookups(platform: Platform, owner: User) -> None:
    with opened(platform.url) as catalogue:
        snapshots = [catalogue.snapshot() for _ in range(postgresql.POOL + 1)]
        for snapshot in snapshots:
            assert snapshot.users() == [owner]
        assert catalogue.users() == [owner]
        for snapshot in snapshots:
            snapshot.close()
        eventually(lambda: len(platform.sessions()) == 1)


# --- nobody waits without end ----------------------------------------------------------------------------------------


def test_the_server_ends_a_statement_that_takes_too_long(
    platform: Platform, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "STATEMENT_TIMEOUT", 0.5)
    with opened(platform.url) as catalogue, catalogue.snapshot() as snapshot:
        with locked(platform), structlog.testing.capture_logs() as logged:
            for known in (catalogue, snapshot):
                with pytest.raises(SourceUnavailable):
                    known.images(PROJECT, None)
        assert [entry["error"] for entry in logged] == ["canceling statement due to statement timeout"] * 2
        assert len(catalogue.images(PROJECT, None)) == 3


def test_a_server_that_does_not_even_greet_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "CONNECT_TIMEOUT", 2)  # psycopg knows no shorter one
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        with pytest.raises(SettingsError, match="timeout"):
            opened(f"postgresql://x@127.0.0.1:{mute.getsockname()[1]}/x")
        assert time.monotonic() - begun < SOON


@contextmanager
def silent(known: Catalogue) -> Iterator[None]:
    """The server process behind the connection stands still until the block ends."""
    ((process,),) = known._reader.rows(sa.text("SELECT pg_backend_pid()"))
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def test_a_server_that_says_nothing_any_more_is_given_up(
    platform: Platform, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(platform.url) as catalogue, catalogue.snapshot() as snapshot:
        with silent(snapshot), structlog.testing.capture_logs() as logged:
            monkeypatch.setattr(postgresql, "PATIENCE", 0.3)
            begun = time.monotonic()
            with pytest.raises(SourceUnavailable):
                snapshot.images(PROJECT, None)
            assert time.monotonic() - begun < SOON
        assert logged[0]["error"] == "the server does not answer"


def test_a_connection_that_says_nothing_any_more_is_asked_no_second_time(
    platform: Platform, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(platform.url) as catalogue, silent(catalogue):
        monkeypatch.setattr(postgresql, "PATIENCE", 1.0)
        assert catalogue.users() == catalogue.users() == [owner]


@pytest.mark.parametrize("of", ["lookups", "snapshot"])
def test_whoever_is_cancelled_leaves_a_query_at_once(platform: Platform, owner: User, of: str) -> None:
    class Cancelled(BaseException): ...

    waiting = threading.Event()

    def listen() -> None:
        if waiting.is_set():
            raise Cancelled

    with opened(platform.url, listen) as catalogue, catalogue.snapshot() as snapshot:
        known = catalogue if of == "lookups" else snapshot
        known.users()
        with locked(platform):
            waiting.set()
            begun = time.monotonic()
            with pytest.raises(Cancelled):
                known.images(PROJECT, None)
            assert time.monotonic() - begun < SOON
            waiting.clear()
            assert catalogue.users() == [owner], "others are not disturbed"
        assert len(catalogue.images(PROJECT, None)) == 3


class Cancelled(BaseException): ...


class Listener:
    """Raises once the test says so."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def __call__(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled

    def leaves(self, call: Callable[[], object]) -> None:
        """The call is left at once when it is cancelled."""
        with ThreadPoolExecutor(1) as thread:
            calling = thread.submit(call)
            with pytest.raises(TimeoutError):
                calling.result(0.3)
            self.cancelled.set()
            begun = time.monotonic()
            with pytest.raises(Cancelled):
                calling.result(PATIENCE)
            assert time.monotonic() - begun < SOON
        self.cancelled.clear()


@pytest.fixture
def gateway(platform: Platform) -> Iterator[Gateway]:
    with open_gateway(f"{platform.server.directory}/.s.PGSQL.5432") as gateway:
        yield gateway


def through(gateway: Gateway, platform: Platform, host: str = "127.0.0.1") -> str:
    return f"postgresql://platform@{host}:{gateway.port}/{platform.name}"


@pytest.mark.parametrize("of", ["lookups", "snapshot"])
def test_whoever_is_cancelled_leaves_a_server_that_does_not_greet_at_once(
    platform: Platform, owner: User, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setattr(postgresql, "CONNECT_TIMEOUT", 1000)
    listener = Listener()
    with opened(through(gateway, platform), listener) as catalogue:
        catalogue.close()  # the next lookup needs a connection again
        gateway.mute = True
        listener.leaves(catalogue.users if of == "lookups" else catalogue.snapshot)
        eventually(lambda: gateway.ignored == 1 and gateway.hung_up())
        gateway.mute = False
        assert catalogue.users() == [owner], "it is found again"


def test_whoever_is_cancelled_does_not_wait_for_a_free_connection(
    platform: Platform, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "POOL_TIMEOUT", 1000)
    listener = Listener()
    with opened(platform.url, listener) as catalogue:
        taken = [catalogue._engines.lookups.connect() for _ in range(postgresql.POOL)]
        listener.leaves(catalogue.users)
        for connection in taken:
            connection.close()
        assert catalogue.users() == [owner]


def test_who_waits_for_a_free_connection_gets_the_first_or_is_told(
    platform: Platform, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(platform.url) as catalogue:
        taken = [catalogue._engines.lookups.connect() for _ in range(postgresql.POOL)]
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(catalogue.users)
            with pytest.raises(TimeoutError):
                asked.result(3 * postgresql.LOOK)
            taken.pop().close()
            assert asked.result(PATIENCE) == [owner]
        monkeypatch.setattr(postgresql, "POOL_TIMEOUT", 0.2)
        taken.append(catalogue._engines.lookups.connect())
        with pytest.raises(SourceUnavailable):
            catalogue.users()
        for connection in taken:
            connection.close()


def test_a_server_is_found_by_its_name(platform: Platform, owner: User, gateway: Gateway) -> None:
    with opened(through(gateway, platform, "localhost")) as catalogue, catalogue.snapshot() as snapshot:
        assert catalogue.users() == snapshot.users() == [owner]


# --- memory ---------------------------------------------------------------------------------------------------------

STREAMED = """
import re, sys
from pathlib import Path
import sqlalchemy as sa
from exportd.store.catalogue import open_catalogue

def peak():  # not getrusage: what that tells begins with the parent's
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

with open_catalogue(sys.argv[1], Path("unused")) as catalogue, catalogue.snapshot() as snapshot:
    snapshot.users()
    before = peak()
    rows = snapshot._reader.stream(sa.text("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
    assert sum(len(row[0]) for row in rows) == 10**8
    print(peak() - before)
"""


def test_a_stream_is_never_in_memory_as_a_whole(platform: Platform) -> None:
    command = [sys.executable, "-c", STREAMED, platform.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert int(done.stdout) < 20_000, "KiB, of 100,000 rows of 1 kB"
