"""Metrics of a project as files: measured once, held on disk, written in each form that is chosen."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

from exportd.core.dataset import Dataset
from exportd.core.options import ExportOptions, MetricsId
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.profiles import measure, tables
from exportd.formats.spool import Spool
from exportd.formats.summary import with_summary
from exportd.formats.table import METRICS
from exportd.formats.wound_chart import wound_chart

Chunks = Generator[bytes | Tick | Warn, None, None]


def metrics(dataset: Dataset, options: ExportOptions, scratch: Path) -> Generator[Member, None, None]:
    """The tables in each chosen form, then the chart of a wound's healing.

    The first member measures before it writes: its images are ticked among its chunks, where a cancel is soon found.
    `scratch` is an empty folder of this export alone. Whoever made it removes it, after the generator and the members'
    chunks are closed; everything that is written here is in it.
    """
    with (
        Spool(scratch, with_summary(tables(dataset.project.type, options))) as spool,
        closing(spool.fill(measure(dataset, options))) as measuring,
    ):
        for member in chain(written(spool, options.metrics_formats), wound_chart(spool)):
            yield replace(member, chunks=_after(measuring, member.chunks))


def written(spool: Spool, ids: Collection[MetricsId]) -> Iterator[Member]:
    """The tables in the chosen forms, in the order of `METRICS`."""
    for row in METRICS:
        if row.id in ids:
            yield from row.writer(spool)


def _after(measuring: Chunks, chunks: Iterable[bytes | Tick | Warn]) -> Chunks:
    """The chunks, and before them what is left to be measured: for every member but the first, nothing."""
    yield from measuring
    yield from chunks
