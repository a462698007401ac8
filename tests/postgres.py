"""A real PostgreSQL for tests, with the tables of the platform that exportd stands beside."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
import sqlalchemy as sa

from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.engines import FILE_NAME, sqlite_engine
from exportd.store.tables import metadata

PATIENCE = 60.0
"""Seconds after which a server is taken to hang."""

TABLES = """
CREATE TABLE "users" (
    "id" TEXT PRIMARY KEY, "email" TEXT NOT NULL UNIQUE, "password" TEXT NOT NULL DEFAULT 'secret',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE "projects" (
    "id" TEXT PRIMARY KEY, "title" TEXT NOT NULL, "description" TEXT, "type" TEXT, "userId" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX ON "projects" ("userId");
CREATE TABLE "images" (
    "id" TEXT PRIMARY KEY, "name" TEXT NOT NULL, "originalPath" TEXT NOT NULL, "thumbnailPath" TEXT,
    "projectId" TEXT NOT NULL, "width" INTEGER, "height" INTEGER, "mimeType" TEXT, "fileSize" BIGINT,
    "displayOrder" INTEGER, "parentVideoId" TEXT, "frameIndex" INTEGER, "isVideoContainer" BOOLEAN DEFAULT false,
    "segmentationStatus" TEXT NOT NULL DEFAULT 'no_segmentation',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3));
CREATE INDEX ON "images" ("projectId");
CREATE TABLE "segmentations" (
    "id" TEXT PRIMARY KEY DEFAULT gen_random_uuid()::text, "imageId" TEXT NOT NULL UNIQUE, "polygons" TEXT NOT NULL,
    "model" TEXT, "threshold" DOUBLE PRECISION, "confidence" DOUBLE PRECISION, "imageWidth" INTEGER,
    "imageHeight" INTEGER, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE "project_shares" (
    "id" TEXT PRIMARY KEY DEFAULT gen_random_uuid()::text, "projectId" TEXT NOT NULL, "sharedWithId" TEXT,
    "email" TEXT, "status" TEXT NOT NULL DEFAULT 'pending');
CREATE INDEX ON "project_shares" ("projectId");
"""
"""As Prisma makes them: with columns that exportd does not know, and some that it may not read."""

SETTINGS = {
    "listen_addresses": "",  # a socket in its own directory is enough, and no port can be taken
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "timezone": "Asia/Tokyo",  # times without zone are UTC wherever the server stands
}


def eventually(condition: Callable[[], bool]) -> None:
    """Returns when it holds. Who watches another process has to poll."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def programs() -> Path | None:
    """Where the server's programs are: on the PATH, or where Debian puts them."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), default=None)


class Server:
    """A server over a directory of its own. Started and stopped as often as a test likes."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        made = self._run("initdb", "--pgdata=data", "--username=platform", "--auth=trust", "--encoding=UTF8",
                         "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        assert made.wait(PATIENCE) == 0, "initdb failed"

    @property
    def _user(self) -> pwd.struct_passwd:
        """PostgreSQL does not run as root."""
        return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory.parent / f"{self.directory.name}.log").open("ab") as log:
            root = os.geteuid() == 0
            return subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                user=self._user.pw_uid if root else None,
                group=self._user.pw_gid if root else None,
                extra_groups=[] if root else None,
            )

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self._process = self._run("postgres", "-D", "data", "-k", str(self.directory), *settings)
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.address("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, *, at_once: bool = False) -> None:
        """Ends all connections and the server; `at_once` as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(PATIENCE)
            self._process = None

    def restart(self, *, at_once: bool = False) -> None:
        self.stop(at_once=at_once)
        self.start()

    def address(self, database: str, role: str = "platform", **query: str) -> str:
        return f"postgresql://{role}@/{database}?{urlencode({'host': str(self.directory), **query}, quote_via=quote)}"

    @contextmanager
    def platform(self) -> Iterator[Platform]:
        """A new database with the platform's tables, all empty; gone when the block ends."""
        self._databases += 1
        name = f"platform{self._databases}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        platform = Platform(self, name)
        try:
            platform.execute(TABLES)
            yield platform
        finally:
            platform.close()
            self.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, database: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """As the superuser, each statement for itself."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []


class Platform(EmbeddedCatalogue):
    """The platform's database as its own back end sees it: what tests write, they write here."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self._engine = sa.create_engine(
            sa.make_url(server.address(name)).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool
        )

    @property
    def url(self) -> str:
        return self.address()

    def address(self, role: str = "platform", **query: str) -> str:
        return self.server.address(self.name, role, **query)

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.server.execute(self.name, statement, *parameters)

    def fill(self, data: Path) -> None:
        """Takes over what stands in the embedded catalogue of a data directory."""
        source = sqlite_engine(data / FILE_NAME, read_only=True)
        with closing(source.connect()) as embedded, self._transaction() as target:
            for table in metadata.sorted_tables:
                if rows := [row._asdict() for row in embedded.execute(table.select())]:
                    target.execute(table.insert(), rows)
        source.dispose()

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A session of the platform's."""
        return psycopg.connect(self.url)

    @contextmanager
    def role(self) -> Iterator[str]:
        """The role of the README, made by its statements."""
        readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
        block = re.search(r"```sql\n(CREATE ROLE (\w+) .*?)```", readme, re.DOTALL)
        assert block is not None, "the README makes no role"
        self.execute(block[1])
        try:
            yield block[2]
        finally:
            self.execute(f"DROP OWNED BY {block[2]}; DROP ROLE {block[2]}")

    def sessions(self) -> list[tuple[str, str]]:
        """State and last statement of each of exportd's sessions."""
        return [
            (state, query)
            for state, query in self.execute(
                "SELECT state, query FROM pg_stat_activity WHERE datname = %s AND application_name = 'exportd'",
                self.name,
            )
        ]


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that lives as long as the block; skips the test where there is none to be had."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed, and scripts/test could not install it (it needs root and apt-get)")
    with tempfile.TemporaryDirectory(prefix="exportd-postgres-", dir="/tmp") as directory:
        path = Path(directory)
        path.chmod(0o755)
        server = Server(Path(tempfile.mkdtemp(dir=path)), found)
        try:
            server.start()
            yield server
        finally:
            server.stop(at_once=True)
