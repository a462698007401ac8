"""Metrics of a project as files: measured once, held on disk, written in each form that is chosen."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from exportd.core.dataset import Dataset
from exportd.core.options import ExportOptions
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.profiles import measure, tables
from exportd.formats.spool import Spool
from exportd.formats.summary import with_summary
from exportd.formats.tables import written
from exportd.formats.wound_chart import wound_chart


def metrics(dataset: Dataset, options: ExportOptions, scratch: Path) -> Generator[Member | Tick | Warn, None, None]:
    """The tables in each chosen form, then the chart of a wound's healing.

    `scratch` is an empty folder of this export alone. Whoever made it removes it, after the generator and the members'
    chunks are closed; everything that is written here is in it.
    """
    with Spool(scratch, with_summary(tables(dataset.project.type, options))) as spool:
        with closing(spool.fill(measure(dataset, options))) as values:
            yield from values
        yield from written(spool, options.metrics_formats)
        yield from wound_chart(spool)
