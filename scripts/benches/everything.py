"""Everything on: images a second, and the daemon's CPU time against that of the parts it cannot do without."""

from __future__ import annotations

import os
from pathlib import Path

from load.daemon import Daemon

from benches import parts
from benches.figures import Goal, Measured, Note, Row, Sample, of, ratio
from benches.ground import Ground, Machine, cpu_of, memory, peak_memory, settle
from benches.session import ALL, Session

SPEED, CPU, BARE, BUSY, MEMORY = "images a second", "CPU time", "CPU time, bare parts", "cores busy", "memory, peak"
BUSY_OF_LEFT = "cores busy, of what others left"
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
    yield Note(
        "On a machine that others keep busy nobody leaves a core idle: then the share of what they left says little."
    )


def _export(daemon: Daemon, user: Session, images: int) -> tuple[str, list[Sample]]:
    before, machine = cpu_of(daemon.pid), Machine.now()
    ended = user.export(ALL)
    used, share = cpu_of(daemon.pid) - before, machine.elsewhere(Machine.now())
    whole = ended.seconds * (os.cpu_count() or 1)
    others = max(0.0, share * whole - used)  # the daemon has not ended, so the share has it among the others
    return ended.job, [
        Sample(SPEED, images / ended.seconds, "/s"),
        Sample(CPU, used),
        Sample(BUSY, used / whole, "of all"),
        Sample(BUSY_OF_LEFT, used / max(used, whole - others), "of that"),
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
            Goal("share of the cores busy that others left", of(BUSY_OF_LEFT), at_least=0.85),
            Goal("MB of memory at most", of(MEMORY), at_most=200),
        ),
        measure,
    ),
)
