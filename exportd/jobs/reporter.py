"""Progress of one job: counted by whoever consumes the work, told at most ten times a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import trio

from exportd.core import events
from exportd.core.job import Progress
from exportd.core.registry import Registry
from exportd.jobs.hub import Hub

INTERVAL = 0.1
"""Seconds between two progress events of a job."""

Stage = str


@dataclass(slots=True)
class Part:
    """A stretch of the work: how many images it counts, and its share of all. Several may belong to one stage."""

    stage: Stage
    total: int
    weight: float
    preparing: str | None = None
    """Set for what the stage has to wait for, as a message: it moves the percent, and not the numbers of the stage."""
    done: int = 0


class Reporter:
    """Turns counts into progress. All methods are plain `def`; after the job's end is decided they do nothing."""

    def __init__(self, job_id: str, registry: Registry, hub: Hub, now: Callable[[], datetime]) -> None:
        self._job_id = job_id
        self._registry, self._hub, self._now = registry, hub, now
        self._parts: list[Part] = []
        self._phase: str | None = None
        self._began = trio.current_time()
        self._next_event = self._began

    def plan(self, parts: Sequence[Part]) -> None:
        """What there is to do. Called again when it begins anew."""
        self._parts = list(parts)

    def phase(self, name: str, message: str) -> None:
        """Enters a phase."""
        before, self._phase = self._phase, name
        job = self._registry.progress(self._job_id, Progress(phase=name, message=message))
        if job is not None and before is not None and before != name:
            self._hub.publish(events.phase_changed(job, before, self._now()), job)

    def count(self, index: int, images: int, item: str | None) -> None:
        """`images` more of part `index` are done; `item` is the last of them."""
        part = self._parts[index]
        part.done = min(part.total, part.done + images)
        self._tell(part, item)

    def finish(self, index: int) -> None:
        """Part `index` is done, whatever it counted."""
        self._parts[index].done = self._parts[index].total

    def _tell(self, part: Part, item: str | None) -> None:
        weight = sum(p.weight for p in self._parts)
        share = sum(p.weight * (p.done / p.total if p.total else 1.0) for p in self._parts) / weight
        counted = [p for p in self._parts if p.stage == part.stage and p.preparing is None]
        elapsed = trio.current_time() - self._began
        progress = Progress(
            percent=min(99, int(share * 100)),  # 100 is told by the commit alone
            phase=self._phase,
            stage=part.stage,
            current=sum(p.done for p in counted),
            total=sum(p.total for p in counted),
            item=item,
            message=part.preparing or _MESSAGES[part.stage],
            remaining=round(elapsed * (1 - share) / share, 1) if share > 0.02 else None,
        )
        job = self._registry.progress(self._job_id, progress)
        if job is not None and trio.current_time() >= self._next_event:
            self._next_event = trio.current_time() + INTERVAL
            self._hub.publish(events.progress(job, self._now()), job)


_MESSAGES: dict[Stage, str] = {
    "images": "Copying original images",
    "visualizations": "Drawing overlays",
    "annotations": "Writing annotations",
    "metrics": "Measuring objects",
    "documentation": "Writing documentation",
    "compression": "Finishing the archive",
}
