"""What must hold of every export (SPEC §1 to §4), as pure functions: what was seen -> the faults in it, none if all is well.

The load test applies them to a real daemon; tests/test_load_test_checks.py shows that each of them can fail.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Json = Mapping[str, Any]

STARTED, PROGRESS = "export:started", "export:progress"
TERMINAL = ("export:completed", "export:failed", "export:cancelled")

GRACE = 0.05
"""Seconds that an event may travel longer than the answer to the cancel."""

TELLING = 0.001
"""Seconds that each watcher more may take, on both sides together: they are told one after the other."""

LEGAL: dict[str | None, frozenset[str]] = {
    None: frozenset({"pending"}),
    "pending": frozenset({"processing", "failed", "cancelled"}),
    "processing": frozenset({"completed", "failed", "cancelled"}),
}
"""SPEC §2. Written down again on purpose: taken from the daemon's own table it could find no fault in that."""

SPARE_DESCRIPTORS, SPARE_THREADS = 5, 8
"""What may come and go without being a leak: idle connections, data base handles; idle worker threads of trio."""

SPARE_MEMORY = 96 << 20
"""Bytes that allocator and page tables may keep beyond half as much again as after the warm-up."""

IDLE_CPU = 0.3
"""Seconds of CPU time in an idle second; more means that something still works."""


class Seen(NamedTuple):
    """An event as it arrived at one watcher; `at` by the monotonic clock."""

    at: float
    event: str
    seq: int
    progress: float | None


class Answer(NamedTuple):
    """An HTTP answer; `body` is empty when it is no JSON object."""

    status: int
    body: Json


class Download(NamedTuple):
    """What came of a download."""

    status: int
    size: int
    sha256: str
    etag: str


class Resources(NamedTuple):
    """What the daemon's process holds; memory in bytes."""

    descriptors: int
    threads: int
    memory: int


def stream_faults(stream: Sequence[Seen], final: str) -> list[str]:
    """One job's events as one watcher saw them that was there before the job; `final` is the job's status."""
    names = [s.event for s in stream]
    seq = [s.seq for s in stream]
    bar = [s.progress for s in stream if s.progress is not None]
    ends = [n for n in names if n in TERMINAL]
    faults = []
    if ends != [f"export:{final}"]:
        faults.append(f"terminal events {ends}, the job is {final}")
    elif names[-1] != ends[0]:
        faults.append(f"{names[-1]} after {ends[0]}")
    if STARTED in names[1:] or (names[:1] != [STARTED] and (final == "completed" or len(names) > 1)):
        faults.append(f"started is not first, and once: {names[:3]}")
    if any(a >= b for a, b in itertools.pairwise(seq)):
        faults.append(f"seq does not ascend: {seq[:20]}")
    if any(a > b for a, b in itertools.pairwise(bar)) or any(not 0 <= b <= 100 for b in bar):
        faults.append(f"progress goes down or leaves 0 to 100: {bar[:20]}")
    return faults


def late_faults(stream: Iterable[Seen], answered: float, watchers: int = 1) -> list[str]:
    """Events that came after the cancel was answered, to one of so many watchers."""
    grace = GRACE + TELLING * (watchers - 1)
    return [f"{s.event} {1e3 * (s.at - answered):.0f} ms after the answer" for s in stream if s.at > answered + grace]


def audit_faults(rows: Sequence[Json], final: str) -> list[str]:
    """The trail is a legal path in the order of time that ends, once, in the job's status."""
    path = [row.get("to") for row in rows]
    befores = [row.get("from") for row in rows]
    times = [str(row.get("time")) for row in rows]
    faults = []
    if befores != [None, *path[:-1]] or any(to not in LEGAL.get(b, ()) for b, to in zip(befores, path, strict=True)):
        faults.append(f"audit trail is no legal path: {path}")
    if path[-1:] != [final]:
        faults.append(f"audit trail ends with {path[-1:]}, the job is {final}")
    if final == "cancelled" and rows and rows[-1].get("reason") != "user_cancellation":
        faults.append(f"cancelled for {rows[-1].get('reason')}")
    if times != sorted(times):
        faults.append("audit times go back")
    return faults


def cancel_faults(answer: Answer, again: Answer, download: Answer, token: Answer) -> list[str]:
    """A cancel that was answered with success, and what was asked right after it."""
    at = answer.body.get("cancelledAt")
    faults = []
    if not at or answer.body.get("status") != "cancelled" or answer.body.get("success") is not True:
        faults.append(f"cancel answered {dict(answer.body)}")
    if answer.body.get("cleanupCompleted") is not True:
        faults.append(f"cleanupCompleted is {answer.body.get('cleanupCompleted')}")
    if again.status != 200 or again.body.get("cancelledAt") != at:
        faults.append(f"second cancel: {again.status}, cancelledAt {again.body.get('cancelledAt')} and not {at}")
    for what, seen in (("download", download), ("download token", token)):
        if (seen.status, seen.body.get("code")) != (410, "EXPORT_CANCELLED"):
            faults.append(f"{what} of a cancelled export: {seen.status} {seen.body.get('code')}")
        elif seen.body.get("cancelledAt") != at:
            faults.append(f"{what}: cancelledAt {seen.body.get('cancelledAt')} and not {at}")
    return faults


def refusal_faults(answer: Answer) -> list[str]:
    """A cancel that was answered with anything but success: only the completed may refuse it."""
    if (answer.status, answer.body.get("code")) != (409, "EXPORT_COMPLETED"):
        return [f"cancel: {answer.status} {answer.body.get('code')} {answer.body.get('error')}"]
    if answer.body.get("status") != "completed" or not answer.body.get("completedAt"):
        return ["the refused cancel does not tell status and completedAt"]
    return []


def cancelled_faults(job: Json, cancelled_at: str) -> list[str]:
    """The job object of an export whose cancel was answered, at any later time."""
    if job.get("status") != "cancelled":
        return [f"was cancelled, is {job.get('status')} later"]
    faults = [f"cancelled, and {key} is {job[key]}" for key in ("sha256", "fileSize", "completedAt") if job.get(key)]
    if job.get("cancelledAt") != cancelled_at:
        faults.append(f"cancelledAt was {cancelled_at}, is {job.get('cancelledAt')} later")
    return faults


def completed_faults(job: Json, download: Download) -> list[str]:
    """The job object of an export that has completed, and its download, at any later time."""
    if job.get("status") != "completed":
        return [f"should be completed, is {job.get('status')} ({job.get('errorCode')})"]
    faults = []
    if download.status != 200 or (download.sha256, download.size) != (job.get("sha256"), job.get("fileSize")):
        faults.append(f"download {download.status} is not what was announced: {download.size} bytes")
    elif download.etag != f'"{download.sha256}"':
        faults.append(f"ETag {download.etag} is not the archive's SHA-256")
    if job.get("progress") != 100 or job.get("cancelledAt"):
        faults.append(f"completed with progress {job.get('progress')}, cancelledAt {job.get('cancelledAt')}")
    return faults


def file_faults(names: Iterable[str], job: str) -> list[str]:
    """Files of a job that is cancelled. Names of the files below the data directory; others' may come and go."""
    left = sorted(n for n in names if job in n)
    return [f"files left: {left[:3]}"] if left else []


def leftover_faults(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Files at the end, when nothing runs and every archive was deleted, that were not there at the beginning."""
    more = sorted(set(after) - set(before))
    return [f"{len(more)} files left at the end: {more[:3]}"] if more else []


def resource_faults(before: Resources, after: Resources, cpu: float, children: int) -> list[str]:
    """The idle daemon after the load, compared with after the warm-up; `cpu` is what it used in an idle second."""
    faults = []
    if after.descriptors > before.descriptors + SPARE_DESCRIPTORS:
        faults.append(f"descriptors {before.descriptors} -> {after.descriptors}")
    if after.threads > before.threads + SPARE_THREADS:
        faults.append(f"threads {before.threads} -> {after.threads}")
    if after.memory > before.memory * 1.5 + SPARE_MEMORY:
        faults.append(f"memory {before.memory >> 20} -> {after.memory >> 20} MiB")
    if cpu > IDLE_CPU or children:
        faults.append(f"still works: {cpu:.2f} s CPU in an idle second, {children} child processes")
    return faults


def log_faults(lines: Iterable[str]) -> list[str]:
    """Lines of the daemon's log, JSON or plain, that tell of an error."""
    faults = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        level = entry.get("level") if isinstance(entry, dict) else line.split(" ", 1)[0].lower()
        if level in ("error", "critical") or (entry is None and line.startswith("Traceback")):
            faults.append(f"log: {line.strip()[:300]}")
    return faults


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and max by nearest rank; empty for no values."""
    ranked = sorted(values)
    if not ranked:
        return {}
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: ranked[max(0, math.ceil(share * len(ranked)) - 1)] for name, share in ranks.items()}
