"""Requests a second on the status of a job, against a bare handler that gives the same bytes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benches import history
from benches.figures import Goal, Measured, Row, ratio
from benches.ground import SCRIPTS, Ground, in_turns
from benches.wire import line, rate

OURS, BARE = "exportd, GET status", "bare quart-trio, same bytes"


def measure(ground: Ground) -> Measured:
    place, job = history.place(ground)
    path = f"/api/projects/{place.project}/export/{job}/status"
    with ground.daemon(place) as daemon, ground.scratch() as scratch:
        content = scratch / "status.json"
        with line(daemon.url, place.token) as asking:
            content.write_bytes(asking.ask(asking.request(path)))
        seconds = 0.1 if ground.quick else 2.0
        with bare(content) as url:
            sides = {
                OURS: partial(rate, daemon.url, place.token, path, seconds),
                BARE: partial(rate, url, place.token, "/status", seconds),
            }
            yield from in_turns(sides, ground.rounds(), unit="/s")


@contextmanager
def bare(content: Path) -> Iterator[str]:
    """The address of such a handler, a process of its own."""
    command = [sys.executable, str(SCRIPTS / "benches/bare.py"), str(content)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)
        process.kill()


ROWS = (
    Row(
        "status",
        "requests a second on GET status with 10,000 jobs in the journal",
        (Goal("× a bare handler", ratio(OURS, BARE), at_least=0.7),),
        measure,
    ),
)
