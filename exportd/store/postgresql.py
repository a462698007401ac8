"""Connections to the platform's PostgreSQL: read-only by the server, and nobody waits for it without end.

The server gives up a statement that takes too long (`STATEMENT_TIMEOUT`). A server that does not answer at all, because
it hangs or the network lost it, is given up from here (`PATIENCE`). A thread that waits listens meanwhile: who is
cancelled has it back within a tenth of a second, at the price of the connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Self, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen, PQGenConn
from sqlalchemy.engine import URL
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from exportd.store.addresses import located

STATEMENT_TIMEOUT = 30.0
"""Seconds that the server works on one statement for at most."""

PATIENCE = 35.0
"""Seconds without a word from the server after which it is taken to hang; longer than it may take."""

CONNECT_TIMEOUT = 3
"""Seconds for a connection to come about, and for the server's address to be found before."""

UNACKNOWLEDGED = 10_000
"""Milliseconds after which a network that swallows all is noticed; the system's own quarter of an hour is too long."""

IDLE_TIMEOUT = 3600.0
"""Seconds after which the server ends an idle transaction: of a process that was stopped in the middle of an export. An
export may well be idle for minutes, while it looks at a hundred thousand files."""

POOL = 8
"""Connections for lookups. A lookup takes a millisecond, so more would only take them from the platform."""

POOL_TIMEOUT = 5.0
"""Seconds to wait for one of them."""

LOOK = 0.1
"""Seconds from one look for a cancel to the next while a thread waits for the server."""

PRISMA = (
    "schema",
    "connection_limit",
    "pool_timeout",
    "pgbouncer",
    "socket_timeout",
    "statement_cache_size",
    "sslaccept",
    "sslidentity",
)
"""Parameters of an address that only Prisma knows. `schema` is honoured; the others are about its own connections."""

T = TypeVar("T")


class NoAnswer(psycopg.OperationalError):
    """The server took a statement and said nothing any more."""


class Cursor(psycopg.ServerCursor[Any]):
    """SQLAlchemy closes no cursor whose connection is gone, and it is right: there is nothing to close."""

    def __del__(self, *_: Any) -> None:
        if not self.connection.closed:
            super().__del__()


class ListeningConnection(psycopg.Connection[Any]):
    """A connection that looks for a cancel while it waits, and while it comes about. One that was given up in the middle
    is closed: its answer may still come, and nobody would read it."""

    listen: Callable[[], None] = staticmethod(lambda: None)

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> PQGenConn[Self]:
        """Raises what `listen` raises. psycopg comes by here every tenth of a second."""
        with closing(super()._connect_gen(*args, **kwargs)) as connecting:
            try:
                wanted = next(connecting)
                while True:
                    if ready := (yield wanted):
                        wanted = connecting.send(ready)
                    else:
                        cls.listen()
            except StopIteration as end:
                made: Self = end.value
                return made

    def wait(self, gen: PQGen[T], interval: float = LOOK, timeout: float | None = None) -> T:
        """Raises what `listen` raises, and `NoAnswer`."""
        return super().wait(self._listened(gen), interval, timeout)

    def _listened(self, gen: PQGen[T]) -> PQGen[T]:
        until = time.monotonic() + PATIENCE
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready:
                    self._look(until)
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result

    def _look(self, until: float) -> None:
        try:
            self.listen()
            if time.monotonic() > until:
                raise NoAnswer("the server does not answer")
        except BaseException:
            self.close()
            raise


def lookups(url: URL, listen: Callable[[], None]) -> sa.Engine:
    """A small pool, a statement a transaction: no roundtrips but the statement's own."""
    return _listening(
        sa.create_engine(
            _address(url),
            connect_args=_arguments(url),
            isolation_level="AUTOCOMMIT",
            poolclass=_listening_pool(listen),
            pool_size=POOL,
            max_overflow=0,
            pool_timeout=LOOK,
        ),
        listen,
    )


def snapshots(url: URL, listen: Callable[[], None]) -> sa.Engine:
    """Connections whose transactions see one moment. Not of the pool: a lookup, and with it a cancel, never waits for
    an export that reads."""
    return _listening(
        sa.create_engine(
            _address(url), connect_args=_arguments(url), isolation_level="REPEATABLE READ", poolclass=NullPool
        ),
        listen,
    )


def _address(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg").difference_update_query((*PRISMA, "options"))


def _arguments(url: URL) -> dict[str, object]:
    """What libpq is told besides the address; what stands in the address wins, but for what keeps us from writing."""
    arguments: dict[str, object] = {
        "application_name": "exportd",
        "connect_timeout": CONNECT_TIMEOUT,
        "keepalives_idle": 30,
        "tcp_user_timeout": UNACKNOWLEDGED,
    }
    return {k: v for k, v in arguments.items() if k not in url.query} | {"options": _options(url)}


def _options(url: URL) -> str:
    """Settings of the session, in the order in which the server takes them: the last word counts."""
    given = url.query.get("options", ())
    settings = [*((given,) if isinstance(given, str) else given)]
    if isinstance(schema := url.query.get("schema"), str):
        settings.append("-c " + _escaped(f"search_path={_quoted(schema)}"))
    settings += [
        "-c default_transaction_read_only=on",
        f"-c statement_timeout={STATEMENT_TIMEOUT * 1000:.0f}",
        f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT * 1000:.0f}",
    ]
    return " ".join(settings)


def _quoted(identifier: str) -> str:
    doubled = identifier.replace('"', '""')
    return f'"{doubled}"'


def _escaped(option: str) -> str:
    """As the server parts options: at blanks, but for those behind a backslash."""
    return "".join(f"\\{c}" if c == "\\" or c.isspace() else c for c in option)


def _listening(engine: sa.Engine, listen: Callable[[], None]) -> sa.Engine:
    class Connection(ListeningConnection): ...

    Connection.listen = staticmethod(listen)

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_: object, __: object, arguments: list[Any], parameters: dict[str, Any]) -> ListeningConnection:
        connection = Connection.connect(*arguments, **located(parameters, CONNECT_TIMEOUT, listen))
        connection.server_cursor_factory = Cursor
        return connection

    return engine


def _listening_pool(listen: Callable[[], None]) -> type[QueuePool]:
    class Pool(QueuePool):
        """Looks for a cancel while it waits for a free connection."""

        def _do_get(self) -> ConnectionPoolEntry:
            until = time.monotonic() + POOL_TIMEOUT
            while True:
                try:
                    return super()._do_get()
                except NoConnectionFree:  # after each `LOOK`
                    listen()
                    if time.monotonic() > until:
                        raise

    return Pool
