"""Everything on: images a second, and the daemon's CPU time against that of the parts it cannot do without."""

from __future__ import annotations

import os
from pathlib import Path

from load.daemon import Daemon

from benches import parts
from benches.figures import Goal, Measured, Note, Row, Sample, of, ratio
from benches.ground import Ground, cpu_of, memory, peak_memory, settle
from benches.session import ALL, Session

SPEED, CPU, BARE, BUSY, MEMORY = "images a second", "CPU time", "CPU time, bare parts", "cores busy", "memory, peak"
FILES, IDLE = "  libraries in it", "memory, before the first export"


def measure(ground: Ground) -> Measured:
    place, rounds = ground.place(ground.plates), ground.rounds(3)
    with ground.serving(ground.plates) as (daemon, user), ground.scratch() as scratch:
        yield Sample(IDLE, peak_memory(daemon.pid) / 1e6, "MB")
        for number in range(-1 if rounds > 1 else 0, rounds):  # the first one warms up
            settle(place.data)
            job, samples = _export(daemon, user, ground.plates.images)
            if number >= 0:
                yield from samples
                spent = parts.measure(place, _archive(place.data, job), scratch)
                yield Sample(BARE, sum(spent.values()))
                yield from (Sample(f"  {part}", seconds) for part, seconds in spent.items())
            user.delete(job)
        yield Sample(MEMORY, peak_memory(daemon.pid) / 1e6, "MB")
        yield Sample(FILES, memory(daemon.pid, "RssFile") / 1e6, "MB")
    yield Note("The parts are the calls of the libraries alone. SHA-256 is of each member and of the archive.")


def _export(daemon: Daemon, user: Session, images: int) -> tuple[str, list[Sample]]:
    before = cpu_of(daemon.pid)
    ended = user.export(ALL)
    used = cpu_of(daemon.pid) - before
    return ended.job, [
        Sample(SPEED, images / ended.seconds, "/s"),
        Sample(CPU, used),
        Sample(BUSY, used / ended.seconds / (os.cpu_count() or 1), "of all"),
    ]


def _archive(data: Path, job: str) -> Path:
    (found,) = data.glob(f"archives/{job}*")
    return found


ROWS = (
    Row(
        "everything",
        "everything on, 300 images of 1024 × 1024 with 30 polygons of 60 vertices",
        (
            Goal("images a second", of(SPEED), at_least=40),
            Goal("× the CPU time of the bare parts", ratio(CPU, BARE), at_most=1.3),
            Goal("share of all cores busy", of(BUSY), at_least=0.85),
            Goal("MB of memory at most", of(MEMORY), at_most=200),
        ),
        measure,
    ),
)
