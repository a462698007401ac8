"""A thousand watchers of one export: whether all of them get its end, how late, and what a message costs the daemon."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from load.daemon import Daemon

from benches.figures import Goal, Measured, Row, Sample, of, quantile
from benches.ground import SCRIPTS, Ground, cpu_of
from benches.session import ALL, Failed, Session

DELIVERED, END, PROGRESS = "ends delivered", "delay of the end", "delay of progress"
COST, OWN, RATE = "CPU a message", "the watchers' own CPU a message", "messages a second"
PATIENCE = 600.0


def measure(ground: Ground) -> Measured:
    """The same export with and without watchers, in turns: what it costs itself is not theirs."""
    count, rounds = ground.size(1000, 20), ground.rounds(2)
    with ground.serving(ground.plates) as (daemon, user):
        alone = [_export(daemon, user)[1]]
        for _ in range(rounds):
            told, seconds, used = _watched(daemon, user, count)
            alone.append(_export(daemon, user)[1])
            itself = statistics.mean(alone[-2:])
            yield Sample(DELIVERED, len(told["ends"]) / count, "of all")
            yield from (Sample(END, delay * 1e3, "ms") for delay in told["ends"])
            yield from (Sample(PROGRESS, delay * 1e3, "ms") for delay in told["progress"])
            yield Sample(COST, max(0.0, used - itself) / told["messages"] * 1e6, "µs")
            yield Sample(OWN, told["cpu"] / told["messages"] * 1e6, "µs")
            yield Sample(RATE, told["messages"] / seconds, "/s")


def _export(daemon: Daemon, user: Session) -> tuple[float, float]:
    """One export: its seconds, and those of CPU time that the daemon has used."""
    before = cpu_of(daemon.pid)
    ended = user.export(ALL)
    used = cpu_of(daemon.pid) - before
    user.delete(ended.job)
    return ended.seconds, used


def _watched(daemon: Daemon, user: Session, count: int) -> tuple[dict[str, Any], float, float]:
    command = [sys.executable, str(SCRIPTS / "benches/watching.py"), daemon.url, user.token, str(count)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise Failed("the watchers could not connect")
            seconds, used = _export(daemon, user)
            out, _ = process.communicate(timeout=PATIENCE)
            return json.loads(out), seconds, used
        finally:
            process.kill()


def _goals() -> Iterator[Goal]:
    yield Goal("share of ends delivered", of(DELIVERED), at_least=1)
    yield Goal("ms to the end, p99", quantile(END, 0.99), at_most=150)
    yield Goal("µs of the daemon's CPU a message", of(COST), at_most=100)


ROWS = (Row("watchers", "1,000 watchers of an export at 10 frames a second", tuple(_goals()), measure),)
