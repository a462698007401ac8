"""How time and memory grow: with the images of a project, with the polygons of an image, with the objects of a table.

Every size has a daemon of its own, so that the peak of its memory is that of this size. Time is the daemon's CPU time, which
others on the machine disturb least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from benches.figures import Goal, Measured, Note, Row, Sample, Samples, exponent
from benches.ground import Ground, cpu_of, peak_memory
from benches.projects import Plan
from benches.session import ALL

IMAGES = Plan(images=1, side=64, polygons=2, vertices=20)
POLYGONS = Plan(images=1, side=1024, polygons=1, vertices=20)
OBJECTS = Plan(images=1, side=1024, polygons=10_000, vertices=8)
"""For tables: an image has as many as a large one may, and there are more images."""
METRICS = {"metricsFormats": ["excel", "csv", "json", "parquet"]}
MEMORY = "memory, peak, "


def _images(count: int) -> Plan:
    return replace(IMAGES, images=count)


def _polygons(count: int) -> Plan:
    return replace(POLYGONS, polygons=count)


def _objects(count: int) -> Plan:
    return replace(OBJECTS, images=max(1, count // OBJECTS.polygons), polygons=min(count, OBJECTS.polygons))


def _measure(
    what: str, sizes: list[int], plan: Callable[[int], Plan], options: dict[str, Any], ground: Ground
) -> Measured:
    for size in sizes[:1] if ground.quick else sizes:
        with ground.serving(plan(size)) as (daemon, user):
            before = cpu_of(daemon.pid)
            ended = user.export(options)
            yield Sample(f"{what} {size}", cpu_of(daemon.pid) - before)
            yield Sample(f"seconds, {what} {size}", ended.seconds)
            yield Sample(f"{MEMORY}{what} {size}", peak_memory(daemon.pid) / 1e6, "MB")
        ground.drop(plan(size))
    if ground.quick:
        yield Note("One size alone does not grow: its exponent was not measured.")


def _most_memory(samples: Samples) -> list[float]:
    peaks = [max(values) for what, values in samples.items() if what.startswith(MEMORY)]
    return [max(peaks)] if peaks else []


def _rows() -> Iterator[Row]:
    kinds: list[tuple[str, str, list[int], Callable[[int], Plan], dict[str, Any]]] = [
        ("images", "10 to 10,000 images, everything on", [10, 100, 1000, 10_000], _images, ALL),
        (
            "polygons",
            "1 to 20,000 polygons on an image, everything on",
            [1, 200, 2000, 20_000],
            _polygons,
            ALL,
        ),
        ("objects", "1,000,000 objects in tables", [10_000, 100_000, 1_000_000], _objects, METRICS),
    ]
    for what, title, sizes, plan, options in kinds:
        goals = (
            Goal("exponent of the CPU time", exponent(f"{what} "), at_most=1.05),
            Goal("MB of memory, peak", _most_memory, at_most=200),
        )
        yield Row(f"growth-{what}", title, goals, partial(_measure, what, sizes, plan, options))


ROWS = tuple(_rows())
