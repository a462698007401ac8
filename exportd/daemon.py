"""The composition root: service, server, signals.

SIGTERM or SIGINT drains: no new jobs, running ones and downloads get their time, sockets close. The second signal stops at
once: jobs are cancelled, connections cut. Neither waits for what cannot be waited for: a client that never reads is cut,
and when a disk hangs the process ends as after `kill -9`, which the next start tidies up.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog
import trio
from quart_trio import QuartTrio

from exportd import logs, memory
from exportd.core.users import User
from exportd.errors import SettingsError
from exportd.jobs.service import Service, open_service
from exportd.settings import Settings, is_loopback
from exportd.tokens import Tickets, load_secret
from exportd.web import server
from exportd.web.app import create_app
from exportd.web.auth import Auth
from exportd.web.socketio.engine import Engine, open_engine

log = structlog.get_logger("exportd.daemon")

WHERE = "daemon.json"
"""In the data directory while the daemon serves: its address and process, for the command line."""

STOP_SLACK = 30.0
"""Seconds beyond the drain and clean-up timeouts that the service manager is asked for, before it kills what hangs."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a worker thread lets the event loop have the interpreter: the default of 5 ms is longer than an
answer should take."""

FAREWELL = 1.0
"""Seconds that connections get when all exports have ended: for the last event, the close, the answer to a cancel."""

HANGING = 5.0
"""Seconds beyond all deadlines after which something is taken to hang."""

ENDED, HUNG, CUT = 0, 1, 3
"""Exit codes, as of other commands: all ended by itself; something hung and was left as it was; an export was cancelled or
a request broken off."""


def run(settings: Settings, *, user: str | None = None) -> int:
    """Serves until a signal; the exit code. `user` is whom the login link logs in, an e-mail address.

    Raises `SettingsError`, `DataDirectoryInUse`, `DataDirectoryUnusable`.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    memory.frugal()
    os.umask(0o077)  # what libraries write meanwhile is nobody else's either
    _allow_descriptors()
    logs.configure(settings)
    if settings.jwt_secret is None and not is_loopback(settings.host):
        raise SettingsError(
            f"Without EXPORTD_JWT_SECRET exportd serves this machine only: set it, or listen on 127.0.0.1 and not "
            f"on {settings.host}."
        )
    for number in (signal.SIGTERM, signal.SIGINT):
        # Restored when nobody listens any more: a signal in the last moments does not turn a clean end into a kill.
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # until it serves
    try:
        return trio.run(_serve, settings, user)
    finally:
        gc.enable()


async def _serve(settings: Settings, user: str | None) -> int:
    tickets = Tickets()
    first, second = trio.Event(), trio.Event()
    serving = _Serving()
    async with trio.open_nursery() as listening:
        # It listens to the very end: a signal that nobody takes would end the process as signals do.
        await listening.start(_listen, first, second)
        listening.start_soon(_give_up, settings, first, second, name="last resort")
        async with (
            open_service(settings) as service,
            open_engine(service, Auth(load_secret(settings), settings)) as engine,
            trio.open_nursery() as nursery,
        ):
            login_user = partial(_login_user, service, user)
            app = create_app(service, settings, load_secret(settings), tickets, login_user, engine)
            url = await nursery.start(serving.run, app, settings)
            # What is loaded by now stays: looking through it would stop everything for a tenth of a second at every full
            # collection.
            gc.freeze()
            gc.enable()
            with _announced(settings.data, url):
                print(f"exportd serves {url}", flush=True)
                if settings.jwt_secret is None:
                    print(f"log in: {url}/login?ticket={tickets.issue()}", flush=True)
                _notify("READY=1")
                await first.wait()
                log.info("draining", seconds=settings.drain_timeout)
                patience = settings.drain_timeout + settings.cleanup_timeout + STOP_SLACK
                _notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={patience * 1e6:.0f}")
                await _stop(service, engine, serving, second, settings.drain_timeout)
        listening.cancel_scope.cancel(reason="stopped")
    log.info("stopped", exports_cancelled=service.cut, requests_broken_off=serving.broken_off)
    return CUT if service.cut or serving.broken_off else ENDED


async def _listen(
    first: trio.Event, second: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            (second if first.is_set() else first).set()


class _Serving:
    """The server, and what it is told at the end."""

    def __init__(self) -> None:
        self.stopping, self.cut, self.served = trio.Event(), trio.Event(), trio.Event()
        self.broken_off = 0

    async def run(
        self, app: QuartTrio, settings: Settings, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            self.broken_off = await server.serve(
                app,
                host=settings.host,
                port=settings.port,
                stopping=self.stopping,
                cut=self.cut,
                task_status=task_status,
            )
        finally:
            self.served.set()


async def _stop(service: Service, engine: Engine, serving: _Serving, second: trio.Event, patience: float) -> None:
    """Drains within `patience` seconds, or until the second signal; whatever still holds on is cut then."""
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            await second.wait()
            log.warning("stopping_at_once")
            nursery.cancel_scope.cancel(reason="second signal")

        nursery.start_soon(hurry, name="second signal")
        with trio.move_on_after(patience):
            await service.drain(patience)
            engine.drain()
            serving.stopping.set()
            await serving.served.wait()
        nursery.cancel_scope.cancel(reason="drained")
    engine.drain()
    serving.stopping.set()
    with trio.move_on_after(FAREWELL):
        await serving.served.wait()
    serving.cut.set()


async def _give_up(settings: Settings, first: trio.Event, second: trio.Event) -> None:
    """Ends the process when it has not ended in time: a thread that hangs in the kernel can neither be stopped nor left."""
    await first.wait()
    with trio.move_on_after(settings.drain_timeout):
        await second.wait()
    await trio.sleep(settings.cleanup_timeout + FAREWELL + HANGING)
    log.critical("stopped_while_something_hangs")
    os._exit(HUNG)


async def _login_user(service: Service, email: str | None) -> User | None:
    """Whom a login link logs in: the one who was named, else the first user of the catalogue."""
    if email is not None:
        return await trio.to_thread.run_sync(lambda: service.catalogue.user(email=email))
    users = await trio.to_thread.run_sync(service.catalogue.users)
    return users[0] if users else None


@contextmanager
def _announced(data: Path, url: str) -> Iterator[None]:
    """Tells the command line where the daemon is, while it is there."""
    path = data / WHERE
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    draft.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _allow_descriptors() -> None:
    """Takes all that the system allows: every watcher and every download holds one, and the usual 1,024 are soon gone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have no number for "all"
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _notify(state: str) -> None:
    """Tells systemd, if that has started us (sd_notify(3)): then only is a unit up that answers."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as manager:
        manager.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)
