"""What several rooms' tests need: settings over a temporary directory, a small real project, the service."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import PIL.Image
import pytest
import structlog
from postgres import Platform, Server, running_server

from exportd.core.users import User
from exportd.jobs.service import Service, open_service
from exportd.settings import Settings
from exportd.store.embedded import EmbeddedCatalogue, ShareStatus
from exportd.store.importers import import_project, sample_project

pytest_plugins = ["browsing", "telling"]

hypothesis.settings.register_profile("exportd", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("exportd")


@dataclass(frozen=True)
class World:
    """A data directory with one project of three images."""

    settings: Settings
    project_id: str
    alice: User
    bob: User
    platform: Platform | None = None
    """Where its rows stand, if not in the data directory."""

    @asynccontextmanager
    async def service(self, **changes: Any) -> AsyncIterator[Service]:
        async with open_service(self.settings.model_copy(update=changes)) as service:
            yield service

    def files(self) -> list[str]:
        """Archives and staging files."""
        return sorted(
            p.relative_to(self.settings.data).as_posix()
            for room in ("staging", "archives")
            for p in (self.settings.data / room).rglob("*")
        )

    def share(self, email: str, status: ShareStatus) -> None:
        with self.platform or EmbeddedCatalogue(self.settings.data) as catalogue:
            catalogue.share(self.project_id, email, status)


def open_files() -> list[str]:
    """What the descriptors of this process lead to."""
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


def held_files() -> list[str]:
    """Staging files and archives, named or not, that this process has open."""
    return [target for target in open_files() if {"staging", "archives"} & set(Path(target).parts)]


def make_world(data: Path, images: int = 3, tiny: str | None = None) -> World:
    """A new data directory; alice owns the project, bob has a share. With `tiny` it is a small one of that type."""
    settings = Settings(data=data, disk_reserve=0, max_active_jobs_per_user=3, max_running_jobs=2)
    with EmbeddedCatalogue(data) as embedded:
        alice, bob = embedded.add_user("alice@example.org"), embedded.add_user("bob@example.org")
        if tiny is None:
            project = sample_project(embedded, settings.uploads_directory, alice.email, images).project_id
    if tiny is not None:
        project = import_project(settings, write_tiny_project(data, images, tiny), None, alice.email).project_id
    with EmbeddedCatalogue(data) as embedded:
        embedded.share(project, bob.email, ShareStatus.ACCEPTED)
    return World(settings, project, alice, bob)


def write_tiny_project(folder: Path, images: int, kind: str) -> Path:
    """A project.json and images of 60 x 40 pixels: an object with a hole, a core, and lines, so that no stage is idle."""
    rows = []
    for number in range(images):
        name = f"{number}.png"
        PIL.Image.effect_noise((60, 40), 40 + number).save(folder / name)
        polygons = [
            {"id": "o", "type": "external", "points": _rectangle(4, 4, 40, 34)},
            {"id": "h", "type": "internal", "points": _rectangle(10, 10, 20, 20)},
            {"id": "c", "type": "external", "partClass": "core", "points": _rectangle(24, 12, 34, 26)},
            {
                "id": "l",
                "geometry": "polyline",
                "partClass": "tail",
                "instanceId": "s1",
                "points": _rectangle(45, 3, 58, 36),
            },
        ]
        rows.append({"name": name, "width": 60, "height": 40, "segmentation": {"polygons": polygons}})
    path = folder / "project.json"
    path.write_text(json.dumps({"title": "Tiny", "type": kind, "images": rows}))
    return path


def _rectangle(left: int, top: int, right: int, bottom: int) -> list[dict[str, int]]:
    return [{"x": x, "y": y} for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


@pytest.fixture(autouse=True)
def _as_loud_as_before() -> Iterator[None]:
    """What exports as a library does has no log of its own but warnings; the next test may look for more."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "data")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Drawn once; never used, only copied."""
    return make_world(tmp_path_factory.mktemp("large") / "data", 40)


@pytest.fixture
def slow_world(large: World, tmp_path: Path) -> World:
    """A project whose export takes long enough that a call finds it at work."""
    data = tmp_path / "slow"
    shutil.copytree(large.settings.data, data)
    return replace(large, settings=large.settings.model_copy(update={"data": data}))


@pytest.fixture
def tiny_world(tmp_path: Path) -> World:
    """A project of two small images, for what is exported many times with everything on."""
    return make_world(tmp_path / "tiny", 2, "spheroid")


@pytest.fixture
def tiniest_world(tmp_path: Path) -> World:
    """The same with one image."""
    return make_world(tmp_path / "tiniest", 1, "spheroid")


@pytest.fixture
def world_of(tmp_path: Path) -> Callable[[int], World]:
    """Worlds with a project of so many images."""
    return lambda images: make_world(tmp_path / f"data{images}", images)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests; a test that stops it starts it again."""
    with running_server() as server:
        yield server


@pytest.fixture
def platform(postgres: Server) -> Iterator[Platform]:
    """An empty database of the platform."""
    with postgres.platform() as platform:
        yield platform


@pytest.fixture
def role(platform: Platform) -> Iterator[str]:
    """The role that the README makes in the platform's database."""
    with platform.role() as role:
        yield role


@pytest.fixture
def beside(platform: Platform) -> Callable[[World], World]:
    """Moves a world's rows to the platform's database, and has exportd read them there."""

    def move(world: World) -> World:
        platform.fill(world.settings.data)
        settings = world.settings.model_copy(update={"database_url": platform.url})
        return replace(world, settings=settings, platform=platform)

    return move
