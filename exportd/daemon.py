"""The composition root: service, server, signals.

SIGTERM or SIGINT drains: no new jobs, running ones and downloads get their time, sockets close. The second signal stops at
once: jobs are cancelled, connections cut.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog
import trio

from exportd import logs
from exportd.core.users import User
from exportd.errors import SettingsError
from exportd.jobs.service import Service, open_service
from exportd.settings import Settings, is_loopback
from exportd.tokens import Tickets, load_secret
from exportd.web.app import create_app
from exportd.web.auth import Auth
from exportd.web.server import serve
from exportd.web.socketio.engine import Engine, open_engine

log = structlog.get_logger("exportd.daemon")

WHERE = "daemon.json"
"""In the data directory while the daemon serves: its address and process, for the command line."""

STOP_SLACK = 30.0
"""Seconds beyond the drain and clean-up timeouts that the service manager is asked for, before it kills what hangs."""

SWITCH_INTERVAL = 0.001
"""Seconds after which a worker thread lets the event loop have the interpreter: the default of 5 ms is longer than an
answer should take."""


def run(settings: Settings, *, user: str | None = None) -> int:
    """Serves until a signal; the exit code. `user` is whom the login link logs in, an e-mail address.

    Raises `SettingsError`, `DataDirectoryInUse`, `DataDirectoryUnusable`.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    logs.configure(settings)
    if settings.jwt_secret is None and not is_loopback(settings.host):
        raise SettingsError(
            f"Without EXPORTD_JWT_SECRET exportd serves this machine only: set it, or listen on 127.0.0.1 and not "
            f"on {settings.host}."
        )
    for number in (signal.SIGTERM, signal.SIGINT):
        # Restored when nobody listens any more: a signal in the last moments does not turn a clean end into a kill.
        signal.signal(number, signal.SIG_IGN)
    return trio.run(_serve, settings, user)


async def _serve(settings: Settings, user: str | None) -> int:
    tickets = Tickets()
    first, second = trio.Event(), trio.Event()
    async with trio.open_nursery() as listening:
        # It listens to the very end: a signal that nobody takes would end the process as signals do.
        await listening.start(_listen, first, second)
        async with (
            open_service(settings) as service,
            open_engine(service, Auth(load_secret(settings), settings)) as engine,
            trio.open_nursery() as nursery,
        ):
            login_user = partial(_login_user, service, user)
            app = create_app(service, settings, load_secret(settings), tickets, login_user, engine)
            stopping, cut = trio.Event(), trio.Event()
            served = trio.Event()
            url = await nursery.start(_server, app, settings, stopping, cut, served)
            # What is loaded by now stays: looking through it would stop everything for a tenth of a second at every full
            # collection.
            gc.collect()
            gc.freeze()
            with _announced(settings.data, url):
                print(f"exportd serves {url}", flush=True)
                if settings.jwt_secret is None:
                    print(f"log in: {url}/login?ticket={tickets.issue()}", flush=True)
                _notify("READY=1")
                await first.wait()
                log.info("draining", seconds=settings.drain_timeout)
                patience = settings.drain_timeout + settings.cleanup_timeout + STOP_SLACK
                _notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={patience * 1e6:.0f}")
                await _stop(service, engine, second, stopping, cut, served, settings.drain_timeout)
        listening.cancel_scope.cancel(reason="stopped")
    log.info("stopped")
    return 0


async def _listen(
    first: trio.Event, second: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            (second if first.is_set() else first).set()


async def _server(  # type: ignore[no-untyped-def]
    app, settings: Settings, stopping: trio.Event, cut: trio.Event, served: trio.Event, *, task_status
) -> None:
    try:
        await serve(app, host=settings.host, port=settings.port, stopping=stopping, cut=cut, task_status=task_status)
    finally:
        served.set()


async def _stop(
    service: Service,
    engine: Engine,
    second: trio.Event,
    stopping: trio.Event,
    cut: trio.Event,
    served: trio.Event,
    patience: float,
) -> None:
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
            stopping.set()
            await served.wait()
        nursery.cancel_scope.cancel(reason="drained")
    stopping.set()
    cut.set()


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


def _notify(state: str) -> None:
    """Tells systemd, if that has started us (sd_notify(3)): then only is a unit up that answers."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as manager:
        manager.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)
