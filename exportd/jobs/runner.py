"""One job's work: survey, members, archive. Knows nothing of states; the supervisor decides when it begins and ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
import trio

from exportd.core.dataset import Image
from exportd.core.job import Job
from exportd.errors import SourceChanged, UnreadableImage
from exportd.formats.croissant import croissant
from exportd.formats.documentation import Written, documentation
from exportd.formats.manifest import export_report, manifest, sums
from exportd.formats.member import Member, Tick, Warn, told
from exportd.formats.metrics import metrics, spool_of
from exportd.formats.overlays import overlays
from exportd.formats.profiles import measure, tables
from exportd.formats.spool import Spool
from exportd.formats.table import FORMATS, METRICS, FormatRow, unmet
from exportd.formats.tabular import Block, Table
from exportd.formats.wound_chart import PATH as CHART
from exportd.jobs.dataset import ProjectDataset, sizes, survey, turn_of
from exportd.jobs.instep import Walk, in_step
from exportd.jobs.pace import Pace
from exportd.jobs.pipeline import Batch, Lane, Look, Pipeline, Work, Writer
from exportd.jobs.reporter import Part, Reporter
from exportd.store.annotations import AnnotationFile
from exportd.store.artifacts import Staged
from exportd.store.catalogue import Catalogue
from exportd.store.sources import Uploads

log = structlog.get_logger("exportd.runner")
T = TypeVar("T")

READ_BYTES = 1 << 20
"""Of an original at a time; a cancel falls between two reads."""

MAX_ATTEMPTS = 5
"""Times that an export begins anew without an image that became unreadable meanwhile."""

COPY_RATE = 400e6
"""Rough bytes per second of copying an original; it only weighs progress."""

IMAGE_COSTS = {"images": 0.1e-3, "visualizations": 30e-3, "annotations": 2e-3, "metrics": 5e-3}
"""Rough seconds per image of a stage, or of one format in it; they only weigh progress."""

READING_COST, TABLES_COST = 3e-3, 1e-3
"""The same for reading the polygons of an image, and for writing its rows of the tables."""


@dataclass(frozen=True, slots=True)
class Produced:
    """An archive that lies flushed under its staging name."""

    sha256: str
    size: int
    images: int
    warnings: tuple[str, ...]


class Runner:
    """Makes archives. One for all jobs; holds no state of any, but the threads that they take turns with."""

    def __init__(self, catalogue: Catalogue, uploads: Uploads, pace: Pace, threads: int) -> None:
        self._catalogue = catalogue
        self._uploads = uploads
        # Few, whatever the number of jobs: every thread that computes is one more that the event loop queues behind for
        # the interpreter, and a cancel needs it some ten times.
        self._limiter = trio.CapacityLimiter(threads)
        self._look = pace.look

    async def produce(self, job: Job, staged: Staged, reporter: Reporter) -> Produced:
        """Writes and flushes the archive: the project as it was when the attempt that made it began.

        Raises `SourceError` when nothing can be exported, `InsufficientSpace`, and OSError of the staging file. An image
        that becomes unreadable meanwhile costs a new beginning without it, so that all formats agree. A cancel stops
        every thread at its next piece; what is staged is the caller's to remove.
        """
        unusable: dict[str, str] = {}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await _Attempt(
                    self._catalogue, self._uploads, job, staged, reporter, self._limiter, self._look
                ).run(unusable)
            except Exception as error:
                changed = [e for e in leaves(error) if isinstance(e, SourceChanged)]
                if not changed or attempt == MAX_ATTEMPTS:
                    raise
                log.warning("source_changed", job=job.id, images=[e.image_id for e in changed], attempt=attempt)
                unusable |= {e.image_id: e.reason for e in changed}
                await trio.to_thread.run_sync(staged.rewind, limiter=self._limiter)
        raise AssertionError("unreachable: the last attempt returns or raises")


class _Attempt:
    """One pass over the project as it is found now: rows and polygons are those of one moment."""

    def __init__(
        self,
        catalogue: Catalogue,
        uploads: Uploads,
        job: Job,
        staged: Staged,
        reporter: Reporter,
        limiter: trio.CapacityLimiter,
        look: Look,
    ) -> None:
        self._catalogue, self._uploads = catalogue, uploads
        self._job, self._staged, self._reporter = job, staged, reporter
        self._limiter, self._look = limiter, look
        self._warnings: list[tuple[int, Warn]] = []
        self._spool: Spool | None = None
        self._writer = Writer(staged, look, self._hold)
        self._pipeline = Pipeline(self._writer, limiter, look, self._count)

    async def run(self, unusable: dict[str, str]) -> Produced:
        self._reporter.phase("preparing", "Looking at the images")
        with await self._thread(self._catalogue.snapshot) as snapshot:
            return await self._export(snapshot, unusable)

    async def _export(self, snapshot: Catalogue, unusable: dict[str, str]) -> Produced:
        dataset = await self._thread(
            survey,
            snapshot,
            self._uploads,
            self._job.project_id,
            self._job.options,
            unusable,
            self._look,
        )
        self._warnings.extend((-1, Warn(said)) for said in unmet(self._job.options, dataset.project.type))
        lanes = await self._thread(self._lanes, dataset)
        reading, papers, flushing = range(len(lanes), len(lanes) + 3)
        self._reporter.plan(await self._thread(self._plan, dataset, lanes))
        self._reporter.phase("processing", "Writing the archive")
        self._reporter.count(0, 0, None)
        await self._pipeline.run(list(enumerate(lanes)), partial(self._read, dataset, snapshot, lanes, reading))
        for index in range(len(lanes)):
            self._reporter.finish(index)
        for work in self._papers(dataset):
            await self._pipeline.run([(papers, Lane("documentation", [work]))])
        self._reporter.finish(papers)
        self._reporter.phase("finalizing", "Putting the archive on the disk")
        self._reporter.count(flushing, 1, None)
        sha256 = await self._thread(self._writer.finish)
        await self._thread(self._staged.clear_scratch)
        warnings = await self._thread(self._all_warnings, dataset)
        return Produced(sha256, self._staged.size, len(dataset.images), warnings)

    async def _read(self, dataset: ProjectDataset, snapshot: Catalogue, lanes: list[Lane], index: int) -> None:
        """Reads the polygons; what needs them waits. Then the snapshot has served: a database keeps for it what others
        delete."""
        if self._job.options.include_documentation or any(lane.waits for lane in lanes):

            async def count(batch: Batch) -> None:
                self._count(index, batch)

            file = AnnotationFile(await self._thread(self._staged.temporary))
            await self._pipeline.each_batch((Tick(image.name) for image in dataset.read(file)), count)
        snapshot.close()

    async def _thread(self, call: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(call, *args, limiter=self._limiter)

    def _lanes(self, dataset: ProjectDataset) -> list[Lane]:
        """Stages in the fixed order of the archive: the more there is to compute for a byte, the earlier. A cancel finds
        little on the disk for most of an export's time then, and to remove that is what it waits for longest. Pictures are
        shared among as many threads as there are; what writes text holds the interpreter, and would only get into its own
        way."""
        options = self._job.options
        turn = turn_of(dataset.images)
        shares = dataset.shared(int(self._limiter.total_tokens), turn)

        def shared(stage: str, *walks: Walk) -> Lane:
            return Lane(stage, [partial(in_step, share, options, walks) for share in shares], turn, waits=True)

        lanes = [Lane("annotations", [partial(row.exporter, dataset, options)], waits=True) for row in self._formats]
        measured, drawn = bool(options.metrics_formats), options.include_visualizations
        if measured and drawn and options.intensity_metrics:  # both need the pixels
            measuring = [shared("visualizations", measure, overlays)]
        else:
            measuring = [shared("metrics", measure)] if measured else []
            measuring += [shared("visualizations", overlays)] if drawn else []
        lanes += measuring
        if measured:
            self._spool = self._staged.keep(spool_of(dataset, options, self._staged.scratch()))
            lanes.append(Lane("metrics", [partial(metrics, self._spool, options)], after=measuring[0]))
        if options.include_original_images:
            lanes.append(Lane("images", [lambda: originals(dataset, self._uploads)]))
        return lanes

    def _hold(self, block: Block) -> None:
        if self._spool is None:
            raise TypeError("there are rows, and no table was asked for")
        self._spool.append(block)

    @property
    def _formats(self) -> list[FormatRow]:
        """The chosen formats in the fixed order."""
        return [row for row in FORMATS if row.id in self._job.options.annotation_formats]

    def _plan(self, dataset: ProjectDataset, lanes: list[Lane]) -> list[Part]:
        """A part for each lane, then reading the polygons, papers, and putting all of it on the disk."""
        count = len(dataset.images)
        copying = {"images": sizes(dataset.images) / COPY_RATE}
        parts = [
            Part(lane.stage, count, copying.get(lane.stage, 0.0) + count * IMAGE_COSTS[lane.stage] + 1e-3)
            if lane.after is None
            else Part(lane.stage, 1, count * TABLES_COST + 1e-3, preparing="Writing the tables")
            for lane in lanes
        ]
        waiting = next((lane.stage for lane in lanes if lane.waits), "documentation")
        reading = Part(waiting, count, count * READING_COST + 1e-3, preparing="Reading the polygons")
        rest = sum(part.weight for part in parts) / 50 + 1e-3
        return [*parts, reading, Part("documentation", count, rest), Part("compression", 1, rest)]

    def _papers(self, dataset: ProjectDataset) -> Iterator[Callable[[], Work]]:
        """What describes the rest, each made when all before it is written: warnings may come up to the last."""
        options = self._job.options
        if options.include_documentation:
            yield lambda: documentation(dataset, options, self._written(dataset), self._all_warnings(dataset))
            yield lambda: _each(croissant(dataset, self._writer.entries, self._tables(dataset)))
        yield lambda: _each(export_report(dataset, self._all_warnings(dataset)))
        yield lambda: _each(manifest(self._writer.entries), sums(self._writer.entries))

    def _written(self, dataset: ProjectDataset) -> Written:
        options = self._job.options
        return Written(
            annotations=self._formats,
            metrics=[row for row in METRICS if row.id in options.metrics_formats],
            tables=self._tables(dataset),
            visualizations=options.include_visualizations,
            chart=any(entry.path == CHART for entry in self._writer.entries),
        )

    def _tables(self, dataset: ProjectDataset) -> tuple[Table, ...]:
        options = self._job.options
        return tables(dataset.project.type, options) if options.metrics_formats else ()

    def _all_warnings(self, dataset: ProjectDataset) -> tuple[str, ...]:
        # Threads that share a stage tell what they have left out when they end; in the order of the sentences it is all the
        # same which of them had what.
        in_order = sorted(self._warnings, key=lambda noted: (noted[0], noted[1].one))
        return tuple(dict.fromkeys([*dataset.notes.warnings, *told((said for _, said in in_order), dataset.place)]))

    def _count(self, index: int, batch: Batch) -> None:
        self._warnings.extend((index, warning) for warning in batch.warnings)
        self._reporter.count(index, batch.images, batch.item)


def _each(*members: Member) -> Generator[Member, None, None]:
    yield from members


def originals(dataset: ProjectDataset, uploads: Uploads) -> Generator[Member | Tick | Warn, None, None]:
    """The source files, bit for bit, straight from where they lie. Raises `SourceChanged`."""
    for image in dataset.images:
        yield Member(
            path=f"images/{image.name}",
            chunks=_chunks(image, dataset.path(image), uploads),
            media_type=image.media_type,
            compress=image.media_type == "image/bmp",  # the one common image type that is not compressed
            size=image.size,
            source_image_id=image.id,
            original_name=image.original_name,
        )
        yield Tick(image.name)


def _chunks(image: Image, path: str, uploads: Uploads) -> Iterator[bytes]:
    try:
        fd = uploads.open(path)
    except UnreadableImage as error:
        raise SourceChanged(image.id, error.reason) from error
    try:
        read = 0
        while chunk := os.read(fd, READ_BYTES):
            read += len(chunk)
            yield chunk
    except OSError as error:
        raise SourceChanged(image.id, "the file could not be read to its end") from error
    finally:
        os.close(fd)
    if read != image.size:
        raise SourceChanged(image.id, "the file changed while it was exported")


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, however deep; an error that is no group is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
