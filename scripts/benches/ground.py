"""What rows stand on: folders that go at the end, projects that are drawn once, daemons, and what a process has used."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from load.daemon import EXPORTD, Daemon

from benches.figures import Sample
from benches.projects import Plan, draw
from benches.session import Session, session
from exportd.settings import Settings
from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.importers import import_project
from exportd.tokens import load_secret, make_token

OWNER = "bench@example.org"
TOKEN_LIFE = 24 * 3600.0
SCRIPTS = Path(__file__).resolve().parents[1]
PLATES = Plan(images=300, side=1024, polygons=30)
"""The project that most rows export: 300 PNG of about 0.7 MB."""
QUICK_PLATES = Plan(images=6, side=256, polygons=5)


class Place(NamedTuple):
    """A data directory with one project."""

    data: Path
    project: str
    token: str

    @property
    def originals(self) -> Path:
        """The folder of the project's images."""
        return self.data / "uploads" / self.project


class Ground:
    """One run of the bench. `quick` asks for the smallest sizes at which a row still does all that it does, `rounds` for
    another number of them than each row would have."""

    def __init__(self, folder: Path, *, quick: bool, rounds: int | None = None, profile: bool = False) -> None:
        self.folder, self.quick = folder, quick
        self._rounds = rounds
        self.profile: list[Path] | None = [] if profile else None
        """Where daemons have left what their sampler saw; None when it is not asked for."""
        self._places: dict[Plan, Place] = {}
        self._made = 0

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def rounds(self, full: int = 5) -> int:
        return self._rounds or self.size(full, 1)

    # --- projects -------------------------------------------------------------------------------------------------------

    @property
    def plates(self) -> Plan:
        return QUICK_PLATES if self.quick else PLATES

    def place(self, plan: Plan) -> Place:
        """A data directory with this project; drawn when it is first asked for, and kept for other rows."""
        if plan not in self._places:
            self._places[plan] = self._new(plan)
        return self._places[plan]

    def _new(self, plan: Plan) -> Place:
        self._made += 1
        data = self.folder / f"place-{self._made}" / "data"
        data.mkdir(parents=True)
        return self.project(data, plan)

    def project(self, data: Path, plan: Plan) -> Place:
        """One project more in a data directory."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="drawn-") as drawn:
            project = draw(Path(drawn), plan)
            settings = Settings(data=data)
            found = import_project(settings, project, None, OWNER)
        return Place(data, found.project_id, _token(settings))

    def drop(self, plan: Plan) -> None:
        """Removes what `place` has made: large projects only one row needs."""
        if place := self._places.pop(plan, None):
            shutil.rmtree(place.data.parent)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the same file system, gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="scratch-") as folder:
            yield Path(folder)

    # --- daemons --------------------------------------------------------------------------------------------------------

    @contextmanager
    def daemon(self, place: Place, **env: object) -> Iterator[Daemon]:
        """A daemon on the place, as it is by default but for `env`; durable as ever."""
        given = {f"EXPORTD_{name.upper()}": str(value) for name, value in env.items()}
        given = {"EXPORTD_LOG_FORMAT": "json", "EXPORTD_MAX_ACTIVE_JOBS_PER_USER": "10", **given}
        daemon = Daemon(place.data, None, given, self._program())
        with daemon.running():
            yield daemon

    def _program(self) -> list[str | Path]:
        if self.profile is None:
            return list(EXPORTD)
        self._made += 1
        target = self.folder / f"profile-{self._made}.json"
        self.profile.append(target)
        return [sys.executable, SCRIPTS / "benches/sampling.py", target]

    @contextmanager
    def serving(self, plan: Plan, **env: object) -> Iterator[tuple[Daemon, Session]]:
        """A daemon on the project, and its user."""
        place = self.place(plan)
        with self.daemon(place, **env) as daemon, session(daemon.url, place.token, place.project) as user:
            yield daemon, user


def _token(settings: Settings) -> str:
    with EmbeddedCatalogue(settings.data) as catalogue:
        user = catalogue.add_user(OWNER)
    return make_token(load_secret(settings), settings, user, TOKEN_LIFE)


# --- sides in turns -----------------------------------------------------------------------------------------------------


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int, unit: str = "s") -> Iterator[Sample]:
    """What each side gives, round by round; who begins changes. Before the first of several rounds one only warms up."""
    names = list(sides)
    for number in range(-1 if rounds > 1 else 0, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            value = sides[name]()
            if number >= 0:
                yield Sample(name, value, unit)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def settle(folder: Path) -> None:
    """Waits until the file system has written what was left to write: it is nobody's who is measured next."""
    subprocess.run(["sync", "-f", folder], check=True)


# --- what was used ------------------------------------------------------------------------------------------------------


def cpu_of(pid: int) -> float:
    """Seconds of CPU time of a process and of all that it has started."""
    process = psutil.Process(pid)
    ended = process.cpu_times()
    children = sum(_clock(child.pid) for child in process.children(recursive=True))
    return _clock(pid) + ended.children_user + ended.children_system + children


def _clock(pid: int) -> float:
    """To the nanosecond: Linux' number for the CPU clock of another process (MAKE_PROCESS_CPUCLOCK in its posix-timers.h)."""
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def peak_memory(pid: int) -> int:
    """The most bytes that a process has had in memory at once."""
    return memory(pid, "VmHWM")


def memory(pid: int, name: str) -> int:
    """Bytes, by a name of proc_pid_status(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:"))) << 10


class Machine(NamedTuple):
    """A moment of the whole machine, in seconds of CPU time."""

    busy: float
    ours: float
    at: float

    @classmethod
    def now(cls) -> Machine:
        times = psutil.cpu_times()
        ours = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        return cls(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice, ours, time.monotonic())

    def elsewhere(self, until: Machine) -> float:
        """Share of all cores that others took from this moment until that one. Children count when they have ended."""
        others = (until.busy - self.busy) - (until.ours - self.ours)
        return max(0.0, others / ((until.at - self.at) * (os.cpu_count() or 1)))
