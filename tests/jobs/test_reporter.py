"""Progress: what stages of several formats, and what they wait for, look like to somebody who watches."""

from __future__ import annotations

from datetime import UTC, datetime

from exportd.core.job import Job, Progress
from exportd.core.options import ExportOptions
from exportd.core.registry import Registry
from exportd.core.states import Event
from exportd.core.users import User
from exportd.jobs.hub import Hub
from exportd.jobs.reporter import Part, Reporter

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Watched:
    """A job at work with a reporter, and what its snapshot says."""

    def __init__(self, *parts: Part) -> None:
        self._registry = Registry(max_active_per_user=1, max_active=1)
        options = ExportOptions(include_documentation=True)
        job, _ = self._registry.admit(Job("j", "p", "Title", User("alice", "alice@example.org"), options, T0))
        self._registry.apply(job.id, Event.START)
        self.reporter = Reporter(job.id, self._registry, Hub(self._registry), lambda: T0)
        self.reporter.plan(parts)

    def after(self, index: int, images: int) -> Progress:
        self.reporter.count(index, images, "a.png")
        return self._registry.get("j").progress


async def test_formats_that_are_written_side_by_side_count_together() -> None:
    watched = Watched(Part("annotations", 10, 1), Part("annotations", 10, 1), Part("metrics", 10, 1))
    seen = [watched.after(0, 10), watched.after(1, 2), watched.after(0, 0), watched.after(2, 5)]
    assert [(p.stage, p.current, p.total) for p in seen] == [
        ("annotations", 10, 20),
        ("annotations", 12, 20),
        ("annotations", 12, 20),
        ("metrics", 5, 10),
    ]


async def test_what_a_stage_waits_for_moves_the_percent_and_not_its_numbers() -> None:
    watched = Watched(Part("annotations", 10, 1), Part("annotations", 10, 1, preparing="Reading the polygons"))
    reading, writing = watched.after(1, 10), watched.after(0, 1)
    assert (reading.message, reading.current, reading.total, reading.percent) == ("Reading the polygons", 0, 10, 50)
    assert (writing.message, writing.current, writing.total, writing.percent) == ("Writing annotations", 1, 10, 55)
