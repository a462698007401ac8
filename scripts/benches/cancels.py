"""Cancels, from the request to the answer, which comes when everything is cleaned: while two full exports run, and on an idle
daemon."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from benches.busy import busy
from benches.figures import Goal, Measured, Row, Sample, quantile
from benches.ground import Ground, Place
from benches.projects import Plan
from benches.session import ALL, Failed, session
from benches.wire import Line, line

HUGE = Plan(images=1, side=10_000, polygons=30, noise=2)
QUICK_HUGE = Plan(images=1, side=1_000, polygons=30, noise=2)
GOLDEN = 0.6180339887
"""Multiples of it, modulo 1, lie evenly over 0 to 1 however many there will be."""
TOO_LATE = 0.8
"""What the longest time until a cancel shrinks by when an export was completed before."""
IDLE, BUSY, LARGE = "idle daemon", "two exports run", "two exports run, 10,000 × 10,000 pixels"


def measure(ground: Ground) -> Measured:
    place = ground.place(ground.plates)
    huge = ground.project(place.data, QUICK_HUGE if ground.quick else HUGE)
    with ground.daemon(place, max_running_jobs=3) as daemon, line(daemon.url, place.token) as asking:
        yield from _cancels(IDLE, daemon.url, place, asking, ground.size(40, 2), 1.0)
        with busy(daemon.url, place):
            yield from _cancels(BUSY, daemon.url, place, asking, ground.size(200, 3), 1.5)
            yield from _cancels(LARGE, daemon.url, huge, asking, ground.size(40, 2), 6.0)


def _cancels(what: str, url: str, place: Place, asking: Line, count: int, longest: float) -> Iterator[Sample]:
    """So many exports of everything, each cancelled at another moment up to `longest` seconds after its start, or earlier when
    they are over by then."""
    number = found = 0
    with session(url, place.token, place.project) as user:
        while found < count:
            job, number = user.start(ALL), number + 1
            time.sleep(number * GOLDEN % 1 * longest)
            took = _cancel(asking, f"{user.base}/{job}/cancel")
            user.delete(job)
            if took is None:
                longest *= TOO_LATE
            else:
                found += 1
                yield Sample(what, took * 1e3, "ms")


def _cancel(asking: Line, path: str) -> float | None:
    """Seconds until the answer; None when the export was completed before. Raises `Failed`, `Refused`."""
    request = asking.request(path, "POST")
    began = time.perf_counter()
    asking.send(request)
    status, body = asking.any_answer()
    took = time.perf_counter() - began
    answer: dict[str, Any] = json.loads(body)
    if status == 409 and answer["code"] == "EXPORT_COMPLETED":
        return None
    if answer.get("cleanupCompleted") is not True:
        raise Failed(f"a cancel was answered with {status} before everything was cleaned")
    return took


def _goals() -> Iterator[Goal]:
    for what in (BUSY, LARGE):
        for name, share, bound in (("p50", 0.5, 15), ("p99", 0.99, 60), ("max", 1, 250)):
            yield Goal(f"ms, {name}, {what}", quantile(what, share), at_most=bound)


ROWS = (Row("cancel", "cancel, from the request to the answer with everything cleaned", tuple(_goals()), measure),)
