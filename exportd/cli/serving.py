"""`serve` and `demo`."""

from __future__ import annotations

import gc
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from exportd.cli.failures import Failure
from exportd.cli.output import answer, answer_json, tell
from exportd.cli.where import DAEMON_FILE, TOKEN_LIFE, Place, json_option, place_options

if TYPE_CHECKING:
    import trio

    from exportd.client import Json
    from exportd.settings import Settings

START_LIMIT = 60.0
"""Seconds that the demo waits for its daemon; it takes about one."""

KILL_AFTER = 10.0
"""Seconds beyond the drain timeout that the demo's daemon gets to stop."""


@click.command()
@click.option("--host", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Where to listen; 0 picks a free one.  [default: 8765]")
@click.option("--database", metavar="URL", help="An existing catalogue: postgresql://... or sqlite:///...")
@click.option("--uploads", metavar="DIR", type=click.Path(path_type=Path), help="Where its images are.")
@click.option("--user", metavar="EMAIL", help="Whom the login link logs in.")
@place_options
def serve(
    place: Place, host: str | None, port: int | None, database: str | None, uploads: Path | None, user: str | None
) -> None:
    """Run the daemon. SIGTERM or Ctrl-C drains it; the second one stops it at once.

    Its exit code is 0 when everything ended by itself, 3 when an export was cancelled or a request broken off, 1 when it
    could not be served or something hung.

    Options win over EXPORTD_* variables, and those over exportd.toml; `exportd config` shows what holds.

    \b
    exportd serve
    exportd serve --data /srv/exportd --port 9000
    exportd serve --database postgresql://reader@db/platform --uploads /srv/uploads
    """
    settings = place.load(host=host, port=port, database_url=database, uploads=uploads).settings
    # Whatever is loaded until it serves stays: to look through all of it time and again would be a third of the start.
    gc.disable()
    from exportd import daemon

    click.get_current_context().exit(daemon.run(settings, user=user))


@click.command(short_help="Make a sample project, serve it, export it.")
@click.option("--images", type=click.IntRange(1, 10_000), default=24, show_default=True, help="Images of the sample.")
@click.option("--once", is_flag=True, help="End after the export, on a terminal too.")
@json_option
@place_options
def demo(place: Place, images: int, once: bool, as_json: bool) -> None:
    """Make a sample project, serve it, export it to the end, and show where the verified archive is.

    On a terminal it goes on serving until Ctrl-C. Unless --data is given, all of it lies in `demo` in the data directory.

    \b
    exportd demo
    exportd demo --once --data /tmp/demo --images 100
    """
    import trio

    data = place.data or place.settings.data / "demo"
    # A demo of an existing set-up would fill that with samples: it takes nothing from the environment.
    for name in [name for name in os.environ if name.startswith("EXPORTD_")]:
        del os.environ[name]
    settings = Place(data, place.config).settings
    stay = not once and sys.stdin.isatty() and sys.stdout.isatty()
    trio.run(_demo, settings, images, stay, as_json)


async def _demo(settings: Settings, images: int, stay: bool, as_json: bool) -> None:
    import trio

    from exportd.cli import users

    tell(f"Making a sample project of {images} images in {settings.data}")
    project_id, owner = await trio.to_thread.run_sync(users.sample, settings, images)
    async with _child(settings, owner.email) as child:
        tell(f"Serving at {child.url}")
        token = users.token(settings, owner, TOKEN_LIFE)
        job, target = await _export(child.url, token, project_id, settings.data / "demo.zip")
        members = await trio.to_thread.run_sync(_check, target)
        from exportd.cli.session import report

        report(job, target)
        tell(f"All {members} files in it match their checksums, and the formats agree.")
        if as_json:
            answer_json({"projectId": project_id, "url": child.url, "file": str(target), "job": job})
        else:
            answer(target)
        tell(f"\n{_next(settings.data, target)}")
        if stay:
            tell(f"\n{child.greeting()}\nIt goes on serving until Ctrl-C.")
            await _stay(child.process)


def _next(data: Path, target: Path) -> str:
    """What somebody who has come so far may want to try."""
    place, command = shlex.join(["--data", str(data)]), shlex.quote(_command())
    return "\n".join(
        [
            "Try next:",
            f"  {command} verify {shlex.quote(str(target))}",
            f"  {command} export sample --extract nuclei --format yolo {place}",
            f"  {command} serve {place}",
        ]
    )


def _command() -> str:
    """How this program is called from here: `exportd` is not on the path of whoever runs it from a checkout."""
    own = Path(sys.executable).with_name("exportd")
    found = shutil.which("exportd")
    if not own.exists() or (found is not None and Path(found).resolve() == own.resolve()):
        return "exportd"
    here = Path.cwd()
    return str(own.relative_to(here)) if own.is_relative_to(here) else str(own)


async def _export(url: str, token: str, project_id: str, target: Path) -> tuple[Json, Path]:
    from exportd.cli.backends import Order, Remote
    from exportd.cli.exporting import run
    from exportd.client import Client
    from exportd.formats.table import FORMATS, METRICS

    options = {
        "includeOriginalImages": True,
        "includeVisualizations": True,
        "includeDocumentation": True,
        "annotationFormats": [row.id for row in FORMATS],
        "metricsFormats": [row.id for row in METRICS],
    }
    async with Client(url, token) as client:
        return await run(Remote(client, Order(project_id, options)), lambda _job: target)


def _check(path: Path) -> int:
    """Verifies an archive; the number of its files. Blocking. Raises `Failure`."""
    from exportd.verifying.archive import verify

    verdict = verify(path)
    if not verdict.whole:
        raise Failure(f"{path}: {verdict.faults[0].place}: {verdict.faults[0].sentence}.")
    return verdict.members


@dataclass(frozen=True)
class _Child:
    """A daemon that runs as a child process."""

    url: str
    process: trio.Process
    printed: IO[bytes]

    def greeting(self) -> str:
        """What it printed: its address and the login link."""
        self.printed.seek(0)
        return self.printed.read().decode(errors="replace").strip()


@asynccontextmanager
async def _child(settings: Settings, user: str) -> AsyncIterator[_Child]:
    """A daemon on a free port. It is stopped, and has ended, when the block is left, however that happens."""
    import trio

    command = [sys.executable, "-m", "exportd", "serve", "--data", str(settings.data), "--port", "0", "--user", user]
    log = settings.data / "serve.log"
    with log.open("wb") as errors, tempfile.TemporaryFile() as printed:
        start = partial(
            trio.run_process,
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=errors,
            check=False,
            start_new_session=True,  # Ctrl-C is for us: the job is cancelled first, then the daemon is stopped
            deliver_cancel=partial(_stop, patience=settings.drain_timeout + KILL_AFTER),
        )
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start)
            with trio.move_on_after(START_LIMIT) as limit:
                url = await _wait_ready(process, settings.data, log)
            if limit.cancelled_caught:
                raise Failure(f"The daemon was not ready after {START_LIMIT:.0f} s; {log} may tell why.")
            yield _Child(url, process, printed)
            nursery.cancel_scope.cancel(reason="the demo ends")


async def _stop(process: trio.Process, patience: float) -> None:
    import trio

    process.terminate()
    await trio.sleep(patience)
    process.kill()


async def _wait_ready(process: trio.Process, data: Path, log: Path) -> str:
    import trio

    from exportd.client import Client

    while process.poll() is None:
        try:
            written = json.loads((data / DAEMON_FILE).read_text())
        except (OSError, ValueError):
            written = {}
        if written.get("pid") == process.pid:
            async with Client(written["url"], None) as client:
                if await client.is_alive():
                    return str(written["url"])
        await trio.sleep(0.05)
    raise Failure(f"The daemon did not start: {_last_line(log) or f'exit code {process.returncode}'}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


async def _stay(process: trio.Process) -> None:
    """Until a signal. Raises `Failure` when the daemon ends by itself."""
    import trio

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_wait_signal, nursery.cancel_scope)
        await process.wait()
        raise Failure("The daemon ended by itself; serve.log in the data directory tells why.")


async def _wait_signal(scope: trio.CancelScope) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            tell("Stopping.")
            scope.cancel(reason="interrupted")
            return


COMMANDS = (serve, demo)
