"""Threads share the images of a stage: nothing in the archive tells how many there were."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import cast

import numpy as np
import pytest
import trio
from conftest import World

from exportd.core.dataset import Dataset, Image, MemoryDataset, Pixels, Project
from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.formats.member import Tick, Warn, told
from exportd.formats.tabular import Block, Column, Table
from exportd.jobs import dataset, runner
from exportd.jobs.instep import in_step
from exportd.jobs.pipeline import BATCH_BYTES, Batch, Pipeline, Work, Writer, batches, closing_work
from exportd.store.pixels import decode
from exportd.store.sources import Uploads

DRAWN = StartRequest(
    options=ExportOptions(
        include_visualizations=True,
        include_documentation=True,
        annotation_formats=("labels", "imagej", "geojson", "labelme"),
        metrics_formats=("excel", "csv", "json", "parquet"),
    )
)
MEASURED = StartRequest(options=DRAWN.options.model_copy(update={"intensity_metrics": True}))
IMAGES = 7


def cut(world: World, which: set[int]) -> None:
    """So that their pixels cannot be read."""
    for place, file in enumerate(sorted(world.settings.uploads_directory.rglob("*.png"))):
        if place in which:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


async def exported(world: World, threads: int, request: StartRequest = DRAWN) -> Job:
    async with world.service(worker_threads=threads) as service:
        job = await service.start(world.alice, world.project_id, request)
        with trio.fail_after(60):
            return await service._supervisor.wait_concluded(job.id)


@pytest.mark.parametrize("request_", [DRAWN, MEASURED])
@pytest.mark.parametrize("turn", [1, 2, 50])
async def test_the_archive_is_the_same_however_many_threads_made_it(
    turn: int, request_: StartRequest, world_of: Callable[[int], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of(IMAGES)
    cut(world, {1, 4, 5})
    monkeypatch.setattr(dataset, "TURN_IMAGES", turn)
    monkeypatch.setattr(dataset, "TURN_PIXELS", turn << 30)
    alone = await exported(world, 1, request_)
    together = [await exported(world, threads, request_) for threads in (2, 3, 16)]
    assert {job.sha256 for job in together} == {alone.sha256}
    assert {job.warnings for job in together} == {alone.warnings}
    (about_pixels,) = [said for said in alone.warnings if said.startswith("Visualizations")]
    assert about_pixels.startswith("Visualizations: 3 images have none")
    names = about_pixels.partition("read: ")[2].rstrip(".").split(", ")
    assert names == sorted(names)


async def test_an_image_is_decoded_once_for_all_who_need_its_pixels(
    world_of: Callable[[int], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def count(fd: int, check: Callable[[], None]) -> Pixels:
        decoded.append(os.fstat(fd).st_ino)
        return decode(fd, check)

    monkeypatch.setattr(dataset, "decode", count)
    job = await exported(world_of(IMAGES), 2, MEASURED)
    assert (job.status, len(decoded), len(set(decoded))) == ("completed", IMAGES, IMAGES)


def test_pixels_are_kept_no_longer_than_their_image_is_looked_at() -> None:
    images = tuple(Image(f"{n}", f"{n}.png", "", 4, 4, "image/png", 1) for n in range(3))
    kept: list[weakref.ref[Pixels]] = []

    class Source(MemoryDataset):
        def pixels(self, image: Image) -> Pixels:
            assert not any(pixels() is not None for pixels in kept), f"those of the image before {image.name}"
            made = np.zeros((4, 4), np.uint8)
            kept.append(weakref.ref(made))
            return made

    def walk(dataset: Dataset, options: ExportOptions) -> Work:
        for image, _ in dataset.annotated():
            assert dataset.pixels(image).size
            yield Warn(image.name)
            yield Tick(image.name)
        yield Warn("end")

    given = []
    for value in in_step(Source(Project("p", "", "", "u"), images), DRAWN.options, [walk, walk]):
        if isinstance(value, Tick):
            assert kept[-1]() is None
        given.append(value)
    each = [value for image in images for value in (Warn(image.name), Warn(image.name), Tick(image.name))]
    assert given == [*each, Warn("end"), Warn("end")]
    assert len(kept) == len(images)


async def test_what_is_left_out_is_told_in_one_order_whichever_thread_had_it(
    world_of: Callable[[int], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    def walk(share: Dataset, options: ExportOptions) -> Work:
        places = {share.place(image.name) for image in share.images}
        yield from (Tick(image.name) for image in share.images)
        # Of the first kind is something in the second image, and the other way round.
        yield from (Warn(said) for place, said in ((1, "Metrics: this."), (0, "Metrics: that.")) if place in places)

    monkeypatch.setattr(runner, "measure", walk)
    monkeypatch.setattr(dataset, "TURN_IMAGES", 1)
    world = world_of(IMAGES)
    alone, together = [await exported(world, threads) for threads in (1, 2)]
    assert [said for said in alone.warnings if said.startswith("Metrics")] == ["Metrics: that.", "Metrics: this."]
    assert (together.warnings, together.sha256) == (alone.warnings, alone.sha256)


def test_walks_are_closed_where_they_stand() -> None:
    made: list[Generator[object, None, None]] = []  # a name for each: else Python would close what nobody has

    def walk(dataset: Dataset, options: ExportOptions) -> Work:
        def values() -> Iterator[Tick]:
            yield from (Tick(image.name) for image in dataset.images)

        made.append(values())  # type: ignore[arg-type]  # it is a generator
        return made[-1]  # type: ignore[return-value]

    images = tuple(Image(f"{n}", f"{n}.png", "", 4, 4, "image/png", 1) for n in range(3))
    work = in_step(MemoryDataset(Project("p", "", "", "u"), images), DRAWN.options, [walk, walk])
    next(work)
    with closing_work(work):
        pass
    assert [inspect.getgeneratorstate(each) for each in made] == [inspect.GEN_CLOSED] * 2


async def test_a_cancel_closes_the_work_of_a_lane_where_it_stands() -> None:
    def endless() -> Iterator[Tick]:
        while True:
            yield Tick("a.png")

    async def take(batch: Batch) -> None:
        scope.cancel()
        await trio.lowlevel.checkpoint()

    work = endless()
    pipeline = Pipeline(cast("Writer", None), trio.CapacityLimiter(1), lambda: None, lambda *_: None)
    with trio.CancelScope() as scope:
        await pipeline.each_batch(work, take)
    assert inspect.getgeneratorstate(cast("Generator[Tick, None, None]", work)) == inspect.GEN_CLOSED


def test_rows_count_in_the_size_of_a_batch() -> None:
    """Else an image of very many objects would be held whole."""
    table = Table("t", "t", (Column("a"), Column("b")))
    rows = BATCH_BYTES // 16 // 4
    work = (Block(table, (np.zeros(rows), np.zeros(rows))) for _ in range(12))
    assert [len(batch.pieces) for batch in batches(work, lambda: None)] == [4, 4, 4, 0]


@pytest.mark.parametrize(("images", "parts", "turn"), [(7, 3, 2), (1, 4, 1), (5, 2, 50), (6, 3, 1)])
async def test_every_image_is_dealt_to_one_and_turns_give_their_order(
    images: int, parts: int, turn: int, world_of: Callable[[int], World]
) -> None:
    world = world_of(images)
    async with world.service() as service:
        uploads = Uploads(world.settings.uploads_directory)
        found = dataset.survey(service.catalogue, uploads, world.project_id, DRAWN.options, {}, lambda: None)
    dealt_to = found.shared(parts, turn)
    for part in dealt_to:
        assert [found.images[part.place(image.name)] for image in part.images] == list(part.images)
    shares = [[image.name for image in part.images] for part in dealt_to]
    assert all(shares)
    dealt = []
    while any(shares):
        for share in shares:
            dealt += share[:turn]
            del share[:turn]
    assert dealt == [image.name for image in found.images]


def test_what_is_left_out_is_told_once_for_each_kind() -> None:
    def lost(count: int, *names: str) -> Warn:
        return Warn("1 is lost: {names}.", "{count} are lost: {names}.", count, names)

    place = {name: place for place, name in enumerate("abcd{count}")}.get
    warnings = [lost(2, "b", "d"), Warn("Something else."), lost(1, "a"), Warn("Something else.")]
    assert told(warnings, lambda name: place(name) or 0) == ["3 are lost: a, b, d.", "Something else."]
    assert told([lost(1, "{count}")], len) == ["1 is lost: {count}."]
