"""What must hold of the exports of a data directory after something went wrong (SPEC §2, §4), as pure functions: what was
known before, what was told, what was found afterwards -> the faults in it, none if all is well.

tests/test_faults_promises.py shows that each of them can fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from load.checks import LEGAL

DOWNLOAD_CODES = {
    "pending": "EXPORT_NOT_READY",
    "processing": "EXPORT_NOT_READY",
    "cancelled": "EXPORT_CANCELLED",
    "failed": "EXPORT_FAILED",
}
TERMINAL = ("export:completed", "export:failed", "export:cancelled")


@dataclass(frozen=True)
class Seen:
    """An export as the service shows it."""

    status: str
    error: str | None
    retryable: bool
    sha256: str | None
    expired: bool
    download: str
    """SHA-256 of what was downloaded, or the code of the refusal."""
    trail: tuple[tuple[str | None, str], ...]
    """From and to of each transition, oldest first."""
    reason: str = ""
    """Of the last decision, and who took it."""
    warnings: int = 0
    progress: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Seen:
        return cls(**dict(values) | {"trail": tuple((a, b) for a, b in values["trail"])})


@dataclass(frozen=True)
class Found:
    """A data directory as a service that was opened on it shows it."""

    jobs: Mapping[str, Seen]
    trails: Mapping[str, tuple[tuple[str | None, str], ...]]
    """Of jobs that are not there any more."""
    files: Sequence[str]
    """Archives and staging files."""
    again: str
    """SHA-256 of a new export, or what became of it."""


@dataclass
class History:
    """What was asked, answered and announced before the end of a process; ids of jobs, or what was told of each."""

    admitted: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    asked: dict[str, set[str]] = field(default_factory=dict)
    """Job -> `cancel`, `delete`, `expire`."""
    answered: dict[str, set[str]] = field(default_factory=dict)
    announced: dict[str, list[str]] = field(default_factory=dict)
    """Job -> its events, in order."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """What was asked and raised an error, and that."""

    @classmethod
    def of(cls, lines: Sequence[Sequence[Any]]) -> History:
        history = cls()
        for word, *rest in lines:
            match word:
                case "admitted":
                    history.admitted.add(rest[0])
                case "started":
                    history.started.add(rest[0])
                case "asked" | "answered":
                    getattr(history, word).setdefault(rest[1], set()).add(rest[0])
                case "event":
                    history.announced.setdefault(rest[1], []).append(rest[0])
                case "refused":
                    history.refused.append((rest[0], rest[1]))
        return history

    def did(self, what: str, job: str) -> bool:
        return what in self.answered.get(job, ())

    def wanted(self, what: str, job: str) -> bool:
        return what in self.asked.get(job, ())


def path_faults(trail: Sequence[tuple[str | None, str]], final: str | None) -> Iterator[str]:
    """The trail is a path through the table from nothing to the final state (None: to any)."""
    before = None
    for start, to in trail:
        if start != before or to not in LEGAL.get(start, ()):
            yield f"audit trail is no legal path: {[t for _, t in trail]}"
            return
        before = to
    if final is not None and before != final:
        yield f"audit trail ends in {before}, the job is {final}"


def shown_faults(job: Seen, reference: str) -> Iterator[str]:
    """One job, whatever happened to it. `reference` is the checksum that an export of the whole project has."""
    yield from path_faults(job.trail, job.status)
    if job.status == "completed" and not job.expired:
        if job.download != job.sha256:
            yield f"completed, and the download is {job.download}"
        if job.sha256 != reference and not job.warnings:
            yield "completed without a warning, and the archive is another"
        return
    expected = "EXPORT_EXPIRED" if job.status == "completed" else DOWNLOAD_CODES[job.status]
    if job.download != expected:
        yield f"{job.status}, and the download is {job.download}"
    if job.status == "failed" and job.progress == 100:
        yield "failed with progress 100"


def directory_faults(found: Found, reference: str, *, left: Collection[str] = ()) -> Iterator[str]:
    """All of a data directory; `left` are files that could not be removed and are admitted to."""
    for name, job in found.jobs.items():
        yield from (f"{name}: {fault}" for fault in shown_faults(job, reference))
        if job.status in ("pending", "processing"):
            yield f"{name}: is {job.status} though nothing works on it"
    for name, trail in found.trails.items():
        yield from (f"{name} (gone): {fault}" for fault in path_faults(trail, None))
    whole = sorted(
        f"archives/{n}.zip" for n, job in found.jobs.items() if job.status == "completed" and not job.expired
    )
    if sorted(set(found.files) - set(left)) != whole:
        yield f"files {sorted(found.files)}, and completed are {whole}"
    if found.again != reference:
        yield f"a new export gives {found.again}"


def crash_faults(known: Mapping[str, Seen], history: History, found: Found, reference: str) -> list[str]:
    """After a death and a restart. `known` are the jobs of before."""
    faults = list(directory_faults(found, reference))
    for name, before in known.items():
        faults += [
            f"{name} (of before): {fault}" for fault in _kept_faults(before, name, history, found.jobs.get(name))
        ]
    for name in sorted(history.started - known.keys() - found.jobs.keys()):
        if not history.wanted("delete", name):
            faults.append(f"{name}: its start was answered and it is gone")
    for name in found.jobs.keys() - known.keys():
        faults += [f"{name}: {fault}" for fault in _new_faults(name, history, found.jobs[name])]
    return faults


def _kept_faults(before: Seen, name: str, history: History, now: Seen | None) -> Iterator[str]:
    if now is None:
        if not history.wanted("delete", name):
            yield "is gone"
    elif history.did("delete", name):
        yield "was deleted and is there"
    elif now.expired and not before.expired:
        if not history.wanted("expire", name):
            yield "is expired"
    elif history.did("expire", name) and not now.expired:
        yield "was expired and is not"
    elif now != before:
        yield f"was {before} and is {now}"


def _new_faults(name: str, history: History, now: Seen) -> Iterator[str]:
    ends = [event.removeprefix("export:") for event in history.announced.get(name, ()) if event in TERMINAL]
    if ends and ends != [now.status]:
        yield f"was announced {ends} and is {now.status}"
    if history.did("delete", name):
        yield "was deleted and is there"
    if history.did("cancel", name) and now.status != "cancelled":
        yield f"its cancel was answered and it is {now.status}"
    if now.status == "cancelled" and not history.wanted("cancel", name):
        yield f"is cancelled and nobody asked: {now.trail}, {now.reason}"
    if now.status == "failed" and not ends and (now.error, now.retryable) != ("INTERRUPTED", True):
        yield f"is failed by {now.error}, retryable {now.retryable}"
    if now.expired:
        yield "is expired"


def event_faults(events: Sequence[str], status: str) -> Iterator[str]:
    """What was announced of one job that has ended."""
    ends = [event for event in events if event in TERMINAL]
    if ends != [f"export:{status}"] or events[-1] != ends[0]:
        yield f"events end with {list(events[-3:])}, {len(ends)} of them terminal, and it is {status}"
