"""A daemon that has much to do: full exports that run one after the other, several at once, until the block is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benches.ground import Place
from benches.session import ALL, Failed, Session, session

EXPORTS = 2
"""That run at once: one for each core of the machine that the goals are for."""
WARM = 1.0
"""Seconds after the first starts in which both are at work."""
PATIENCE = 60.0


@contextmanager
def busy(url: str, place: Place) -> Iterator[None]:
    """Raises `Failed` at the end when an export ended otherwise than it should have: then the daemon was not that busy."""
    stopping, faults = threading.Event(), list[str]()
    threads = [threading.Thread(target=_work, args=(url, place, stopping, faults)) for _ in range(EXPORTS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(WARM)
        yield
    finally:
        stopping.set()
        with session(url, place.token, place.project) as user:
            _end(user, threads)
    if faults:
        raise Failed(faults[0])


def _work(url: str, place: Place, stopping: threading.Event, faults: list[str]) -> None:
    with session(url, place.token, place.project) as user:
        while not stopping.is_set():
            try:
                user.delete(user.export(ALL).job)
            except Exception as error:  # noqa: BLE001 - told where the block ends
                if not stopping.is_set():
                    faults.append(f"{type(error).__name__}: {error}")
                return


def _end(user: Session, threads: list[threading.Thread]) -> None:
    """Cancels what still runs, as often as it takes: a thread may just have begun with its next export."""
    until = time.monotonic() + PATIENCE
    while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
        for job in user.http.get("/api/exports").json():
            if job["status"] in ("pending", "processing"):
                user.http.post(f"{user.base}/{job['id']}/cancel")
        for thread in threads:
            thread.join(0.2)
