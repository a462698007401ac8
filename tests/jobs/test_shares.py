"""Threads share the images of a stage: nothing in the archive tells how many there were."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import trio
from conftest import World

from exportd.core.dataset import Pixels
from exportd.core.job import Job
from exportd.core.options import ExportOptions, StartRequest
from exportd.formats.member import Warn, told
from exportd.jobs import dataset
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


@pytest.mark.parametrize(("images", "parts", "turn"), [(7, 3, 2), (1, 4, 1), (5, 2, 50), (6, 3, 1)])
async def test_every_image_is_dealt_to_one_and_turns_give_their_order(
    images: int, parts: int, turn: int, world_of: Callable[[int], World]
) -> None:
    world = world_of(images)
    async with world.service() as service:
        uploads = Uploads(world.settings.uploads_directory)
        found = dataset.survey(service.catalogue, uploads, world.project_id, DRAWN.options, {}, lambda: None)
    shares = [[image.name for image in share.images] for share in found.shared(parts, turn)]
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
