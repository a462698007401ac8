"""exportd in other people's programs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from conftest import World, held_files

import exportd
from exportd.errors import ExportCancelled, ImportFailed, ProjectForbidden, SettingsError
from exportd.store.sample import draw_project

PATIENCE = 60
COCO = exportd.ExportOptions(annotation_formats=("coco",))
HEAVY = ("pydantic", "trio", "httpx", "sqlalchemy", "numpy", "structlog", "orjson", "click")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "drawn").mkdir()
    return draw_project(tmp_path / "drawn", 3)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the front door ------------------------------------------------------------------------------------------------


def test_the_import_alone_loads_nothing() -> None:
    code = f"import exportd, sys; print([m for m in {HEAVY!r} if m in sys.modules], exportd.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"[] {exportd.__version__}\n"


@pytest.mark.parametrize("name", exportd.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(exportd, name)
    assert value.__doc__
    assert name in dir(exportd)


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = exportd.nonsense


def test_what_type_checkers_see_is_what_there_is() -> None:
    source = Path(exportd.__file__).read_text()
    block = source.partition("if TYPE_CHECKING:\n")[2].partition("\n\n")[0]
    seen = {
        name.strip(): line.split()[1]
        for line in block.splitlines()
        for name in line.partition(" import ")[2].split(",")
    }
    assert seen == exportd._HOME
    assert sorted(seen) == sorted(exportd.__all__)


# --- one call ------------------------------------------------------------------------------------------------------


def test_one_call_exports_a_project_file(project: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    events: list[str] = []
    done = exportd.export(
        project, tmp_path / "out.zip", formats=["coco"], on_event=lambda frame: events.append(frame["event"])
    )
    assert (done.path, done.images, done.warnings) == (tmp_path / "out.zip", 3, ())
    assert done.path.stat().st_size == done.size
    assert exportd.verify(done.path).whole
    assert (events[0], events[-1]) == ("export:started", "export:completed")
    assert left(tmp_path) == ["drawn", "out.zip"]
    said = capfd.readouterr()
    assert said.out + said.err == "", "a library is silent"


def test_one_call_exports_coco(project: Path, tmp_path: Path) -> None:
    ring = [1, 1, 90, 1, 90, 90]
    coco = {
        "images": [{"id": 1, "file_name": "nuclei_001.png", "width": 512, "height": 512}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [ring]}],
        "categories": [],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    done = exportd.export(tmp_path / "coco.json", tmp_path / "out.zip", images=project.parent, metrics=["csv"])
    assert done.images == 1


def test_what_an_import_leaves_out_is_told(project: Path, tmp_path: Path) -> None:
    (project.parent / "nuclei_002.png").unlink()
    done = exportd.export(project, tmp_path / "out.zip")
    assert done.images == 2
    assert any("nuclei_002.png" in warning for warning in done.warnings)


def test_one_call_exports_from_a_catalogue_by_title_or_id(world: World, tmp_path: Path) -> None:
    for number, name in enumerate(("Sample: nuclei", world.project_id)):
        done = exportd.export(name, tmp_path / f"{number}.zip", formats=["json"], data=world.settings.data)
        assert exportd.verify(done.path).whole
    with pytest.raises(SettingsError, match="No projects"):
        exportd.export("nothing", tmp_path / "x.zip", data=world.settings.data)


def test_an_error_comes_as_itself_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "project.json").write_text("[]")
    with pytest.raises(ImportFailed):
        exportd.export(tmp_path / "project.json", tmp_path / "out.zip")
    with pytest.raises(ValueError, match="nothing is chosen"):
        exportd.export(tmp_path / "project.json", tmp_path / "out.zip", originals=False)
    assert left(tmp_path) == ["project.json"]


def test_it_works_where_an_event_loop_runs_as_in_notebooks(project: Path, tmp_path: Path) -> None:
    async def cell() -> exportd.Exported:
        return exportd.export(project, tmp_path / "out.zip", formats=["coco"])

    assert asyncio.run(cell()).images == 3
    (project.parent / "project.json").write_text("[]")
    with pytest.raises(ImportFailed):
        asyncio.run(cell())


async def test_in_trio_it_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match="run_export"):
        exportd.export("project.json", "out.zip")


def test_ctrl_c_leaves_nothing(project: Path, tmp_path: Path) -> None:
    def interrupt(frame: Any) -> None:
        if frame["event"] == "export:progress":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exportd.export(project, tmp_path / "out.zip", visualizations=True, on_event=interrupt)
    assert left(tmp_path) == ["drawn"]


# --- in a trio program ---------------------------------------------------------------------------------------------


async def test_an_export_in_a_program_of_trio(world: World, tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with exportd.open_service(world.settings) as service:
            done = await exportd.run_export(
                service, world.alice, world.project_id, COCO, tmp_path / "a.zip", name="Mine"
            )
            assert exportd.verify(done.path).whole
            (job,) = await service.exports(world.alice)
            assert (job["id"], job["projectName"], job["sha256"]) == (done.job_id, "Mine", done.sha256)
            with pytest.raises(ProjectForbidden):
                await exportd.run_export(
                    service, exportd.User("nobody", ""), world.project_id, COCO, tmp_path / "b.zip"
                )
    assert left(tmp_path) == ["a.zip", "data"]


async def test_a_cancel_cancels_the_export_and_nothing_is_left(slow_world: World, tmp_path: Path) -> None:
    world = slow_world
    options = exportd.ExportOptions(include_visualizations=True)
    async with world.service() as service:
        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            await exportd.run_export(
                service,
                world.alice,
                world.project_id,
                options,
                tmp_path / "a.zip",
                on_event=lambda frame: scope.cancel() if frame["event"] == "export:progress" else None,
            )
        assert scope.cancelled_caught
        (job,) = await service.exports(world.alice)
        assert (job["status"], job["cancelledBy"]) == ("cancelled", "user")
        assert world.files() == []
        assert not held_files()
    assert left(tmp_path) == ["slow"]


async def test_what_somebody_else_cancelled_raises(slow_world: World, tmp_path: Path) -> None:
    world = slow_world
    options = exportd.ExportOptions(include_visualizations=True)
    async with world.service() as service, trio.open_nursery() as nursery:

        def cancel(frame: Any) -> None:
            if frame["event"] == "export:started":
                nursery.start_soon(service.cancel, world.alice, world.project_id, frame["data"]["jobId"])

        with trio.fail_after(PATIENCE), pytest.raises(ExportCancelled):
            await exportd.run_export(
                service, world.alice, world.project_id, options, tmp_path / "a.zip", on_event=cancel
            )
    assert left(tmp_path) == ["slow"]
