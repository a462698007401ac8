"""Whether the daemon still answers while two full exports run: how long its event loop is away, and how long a status takes.

The loop is seen from outside: a request that needs nothing but the loop, beside the same on an idle daemon. What the probe
itself was late is told too: on a machine that others use it is part of what it sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benches.busy import busy
from benches.figures import Figure, Goal, Measured, Row, Sample, Samples, quantile
from benches.ground import Ground
from benches.session import ALL
from benches.wire import line

PERIOD = 0.03
"""Seconds between two looks: asking takes some percent of a core, and must not become the load."""
LOOP, STATUS, LATE = "GET /healthz", "GET status", "the probe's own delay"


def measure(ground: Ground) -> Measured:
    with ground.serving(ground.plates) as (daemon, user):
        job = user.export(ALL).job
        status = f"{user.base}/{job}/status"
        yield from _probes("idle", daemon.url, user.token, status, ground.size(300, 5))
        with busy(daemon.url, ground.place(ground.plates)):
            yield from _probes("busy", daemon.url, user.token, status, ground.size(1500, 10))


def _probes(when: str, url: str, token: str, status: str, count: int) -> Iterator[Sample]:
    with line(url, token) as asking:
        for place in range(count):
            asked, due = (LOOP, "/healthz") if place % 2 else (STATUS, status), time.perf_counter() + PERIOD
            time.sleep(PERIOD)
            began = time.perf_counter()
            asking.ask(asking.request(asked[1]))
            took = time.perf_counter() - began
            yield Sample(f"{asked[0]}, {when}", took * 1e3, "ms")
            yield Sample(f"{LATE}, {when}", (began - due) * 1e3, "ms")


def _stall(share: float) -> Figure:
    """How much longer a probe took than one of an idle daemon usually does."""

    def figure(samples: Samples) -> list[float]:
        idle = quantile(f"{LOOP}, idle", 0.5)(samples)
        return [max(0.0, value - idle[0]) for value in quantile(f"{LOOP}, busy", share)(samples)]

    return figure


ROWS = (
    Row(
        "stall",
        "event loop and GET status while two full exports run",
        (
            Goal("ms of stall, p99", _stall(0.99), at_most=10),
            Goal("ms of stall, max", _stall(1), at_most=50),
            Goal("ms of GET status, p99", quantile(f"{STATUS}, busy", 0.99), at_most=30),
        ),
        measure,
    ),
)
