"""What operators see of jobs: for every transition one line in the log and one count, and the gauges of a moment.

The counters and histograms are Prometheus' own and the only memory here; gauges are made of the registry when they are
asked for. Labels have a handful of values each: never a job, a user or a project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from exportd import __version__
from exportd.core.job import Job
from exportd.core.states import FINAL, State

log = structlog.get_logger("exportd.jobs")

WAITS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 14400)
"""Upper bounds in seconds of what an export may wait for its turn."""

RUNS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""The same for its work: the last is the default time limit."""

CANCELS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""The same for a cancel, up to twice the default clean-up limit."""

SHOWN = (State.PENDING, State.PROCESSING, *sorted(FINAL))
"""States of the wire. Each is told, also when no export is in it: a series that comes and goes breaks alerts."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of this moment."""

    jobs: Mapping[str, int]
    running: int
    queued: int
    watchers: int
    archives: int
    archive_bytes: int
    free_bytes: int
    draining: bool


class Telemetry:
    """The metrics of one service: two in one process share none."""

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        Info("exportd_build", "What runs.", registry=self._all).info({"version": __version__})
        ProcessCollector(registry=self._all)
        self._transitions = Counter(
            "exportd_transitions", "Changes of state of exports.", ["to", "reason"], registry=self._all
        )
        self._waits = self._histogram("exportd_wait_seconds", "From the submission to the start.", WAITS)
        self._runs = self._histogram(
            "exportd_run_seconds", "From the start to the end, by how it ended.", RUNS, "status"
        )
        self._cancels = self._histogram(
            "exportd_cancel_seconds", "From the decision of a cancel until all of the export is gone.", CANCELS, "by"
        )
        self._unclean = Counter(
            "exportd_cleanups_overdue", "Cancels that were answered before their clean-up was over.", registry=self._all
        )
        self._written = Counter(
            "exportd_written_bytes", "Put into archives, also into those that were given up.", registry=self._all
        )
        self._jobs = Gauge("exportd_jobs", "Exports on record by status.", ["status"], registry=self._all)
        self._running = self._gauge("exportd_running_jobs", "Exports that run.")
        self._queued = self._gauge("exportd_queued_jobs", "Exports that wait for their turn.")
        self._watchers = self._gauge("exportd_watchers", "Open event streams.")
        self._archives = self._gauge("exportd_archives", "Archives that can be downloaded.")
        self._archive_bytes = self._gauge("exportd_archive_bytes", "Size of all of them.")
        self._free = self._gauge("exportd_free_bytes", "Room for archives, without the reserve.")
        self._draining = self._gauge("exportd_draining", "1 while it is stopping.")

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self._all)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=bounds, registry=self._all)

    def transition(
        self, job: Job, before: str | None, seconds: float | None = None, *, unwinding: float | None = None
    ) -> None:
        """`job` as it now is. It was in the state `before` for `seconds`, the last `unwinding` of them cancelled already."""
        to = job.status
        self._transitions.labels(to, job.reason.value).inc()
        if seconds is not None:
            if to == State.PROCESSING:
                self._waits.observe(seconds)
            elif before == State.PROCESSING:
                self._runs.labels(to).observe(seconds)
        if unwinding is not None:
            self._cancels.labels(job.cancelled_by or "system").observe(unwinding)
            self._unclean.inc(not job.cleanup_completed)
        log.info("transition", **_line(job, before, seconds, unwinding))

    def wrote(self, count: int) -> None:
        """So many bytes more of an archive. From any thread."""
        self._written.inc(count)

    def render(self, now: Statistics) -> bytes:
        """All of it in the text format of Prometheus."""
        for status in SHOWN:
            self._jobs.labels(status.value).set(now.jobs.get(status, 0))
        self._running.set(now.running)
        self._queued.set(now.queued)
        self._watchers.set(now.watchers)
        self._archives.set(now.archives)
        self._archive_bytes.set(now.archive_bytes)
        self._free.set(now.free_bytes)
        self._draining.set(now.draining)
        return generate_latest(self._all)


def _line(job: Job, before: str | None, seconds: float | None, unwinding: float | None) -> dict[str, object]:
    """What the log tells of a transition: ids and numbers, nothing that a person wrote."""
    line: dict[str, object] = {
        "job": job.id,
        "user": job.user.id,
        "project": job.project_id,
        "before": before,
        "to": job.status,
        "reason": job.reason.value,
        "actor": job.user.id if before is None else job.actor,
    }
    if seconds is not None:
        line["seconds"] = round(seconds, 3)
    match job.state:
        case State.COMPLETED:
            line |= {"bytes": job.file_size, "images": job.total_images, "warnings": len(job.warnings)}
        case State.FAILED:
            line["code"] = job.error_code
        case State.CANCELLED:
            line |= {"by": job.cancelled_by, "cleaned": job.cleanup_completed}
            if unwinding is not None:
                line["cancel_seconds"] = round(unwinding, 4)
    return line
