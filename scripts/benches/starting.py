"""From the start of the process until it is ready, with 10,000 jobs in the journal; and how long `exportd --help` takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from load.daemon import EXPORTD

from benches import history
from benches.figures import Goal, Measured, Row, Sample, of
from benches.ground import Ground, Place, cpu_of, in_turns, timed

FULL, EMPTY = "ready, 10,000 jobs", "ready, no job"
HELP, PASS, CLICK = "exportd --help", "python -c pass", "python -c 'import click'"


def start(ground: Ground) -> Measured:
    place, _ = history.place(ground)
    with tempfile.TemporaryDirectory(dir=ground.folder) as empty:
        data = Path(empty) / "data"
        data.mkdir()
        sides = {FULL: place, EMPTY: Place(data, "", "")}
        for number in range(ground.rounds()):
            for name, at in sides.items() if number % 2 else reversed(sides.items()):
                with ground.daemon(at) as daemon:
                    yield Sample(f"{name}, CPU time", cpu_of(daemon.pid))
                    yield Sample(name, daemon.took)


def commands(ground: Ground) -> Measured:
    python = sys.executable
    sides = {HELP: [*EXPORTD, "--help"], PASS: [python, "-c", "pass"], CLICK: [python, "-c", "import click"]}
    yield from in_turns({name: partial(_run, command) for name, command in sides.items()}, ground.rounds(10))


def _run(command: list[str]) -> float:
    return timed(partial(subprocess.run, command, stdout=subprocess.DEVNULL, check=True))


ROWS = (
    Row(
        "start",
        "from the start to ready with 10,000 jobs in the journal",
        (Goal("seconds until ready", of(FULL), at_most=1.5),),
        start,
    ),
    Row(
        "help",
        "exportd --help, against python -c pass and the imports that it cannot do without",
        (Goal("ms", of(HELP, 1e3), at_most=250),),
        commands,
    ),
)
