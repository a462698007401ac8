"""What describes the rest of an archive tells what was done to the project's polygons, and is there when asked for."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from conftest import World

from exportd.core.options import ExportOptions, StartRequest
from exportd.verifying.archive import verify

PATIENCE = 30


async def exported(world: World, **options: Any) -> bytes:
    request = StartRequest(options=ExportOptions(**options))
    async with world.service() as service:
        job = await service.start(world.alice, world.project_id, request)
        with trio.fail_after(PATIENCE):
            await service._supervisor.wait_concluded(job.id)
        with service._registry.reading(job.id, service._open) as download:
            return os.pread(download.fd, download.size, 0)


def spoil(world: World) -> str:
    """Puts a polygon of two points into one image; its id."""
    with closing(sqlite3.connect(world.settings.data / "catalogue.db")) as rows, rows:
        image, polygons = rows.execute("select imageId, polygons from segmentations order by imageId").fetchone()
        spoiled = [
            *json.loads(polygons),
            {"id": "x", "type": "external", "points": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]},
        ]
        rows.execute("update segmentations set polygons = ? where imageId = ?", (json.dumps(spoiled), image))
    return str(image)


async def test_polygons_that_could_not_be_used_stand_in_the_report_by_image(world: World, tmp_path: Path) -> None:
    image = spoil(world)
    content = await exported(world, annotation_formats=("coco", "json"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        report = json.loads(archive.read("export_report.json"))
    (repair,) = report["repaired"]
    assert repair["imageId"] == image
    assert [f"{repair['originalName']}: {said}" for said in repair["sentences"]] == report["warnings"]
    (tmp_path / "x.zip").write_bytes(content)
    assert verify(tmp_path / "x.zip").faults == ()


@pytest.mark.parametrize("asked", [True, False])
async def test_croissant_comes_with_the_documentation(world: World, asked: bool) -> None:
    content = await exported(world, annotation_formats=("coco",), include_documentation=asked)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert ("croissant.json" in names) is asked
        if asked:
            files = {row["@id"]: row for row in json.loads(archive.read("croissant.json"))["distribution"]}
            listed = {row["path"]: row for row in json.loads(archive.read("manifest.json"))["members"]}
            assert (
                files["annotations/coco/annotations.json"]["sha256"]
                == (listed["annotations/coco/annotations.json"]["sha256"])
            )
