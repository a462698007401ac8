"""Metrics of a project as files: measured once, held on disk, written in each form that is chosen."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from pathlib import Path

from exportd.core.dataset import Dataset
from exportd.core.options import ExportOptions, MetricsId
from exportd.formats.member import Member
from exportd.formats.profiles import tables
from exportd.formats.spool import Spool
from exportd.formats.summary import with_summary
from exportd.formats.table import METRICS
from exportd.formats.wound_chart import wound_chart


def spool_of(dataset: Dataset, options: ExportOptions, folder: Path) -> Spool:
    """Where the rows go that `profiles.measure` gives for any part of the dataset, in the order of its images.

    `folder` exists and is this export's alone. Whoever made it removes it, and closes the spool; all that the spool writes
    is in it.
    """
    return Spool(folder, with_summary(tables(dataset.project.type, options)))


def metrics(spool: Spool, options: ExportOptions) -> Generator[Member, None, None]:
    """The tables in each chosen form, then the chart of a wound's healing; for a spool that has all rows."""
    yield from written(spool, options.metrics_formats)
    yield from wound_chart(spool)


def written(spool: Spool, ids: Collection[MetricsId]) -> Iterator[Member]:
    """The tables in the chosen forms, in the order of `METRICS`."""
    for row in METRICS:
        if row.id in ids:
            yield from row.writer(spool)
