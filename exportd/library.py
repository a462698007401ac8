"""Exports from one's own program: beside other tasks of trio, or in one call."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import orjson
import trio

from exportd import logs
from exportd.core.events import TERMINAL
from exportd.core.options import ExportOptions, FormatId, MetricsId, StartRequest
from exportd.core.users import User
from exportd.errors import JobConflict, SettingsError
from exportd.jobs.downloads import Download
from exportd.jobs.service import Service, open_service
from exportd.settings import Settings
from exportd.store.importers import import_coco, import_project
from exportd.store.jsonstream import walk

T = TypeVar("T")

OnEvent: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Called with every event of an export, as the README has them: `{"event", "seq", "data"}`."""

CHUNK = 1 << 20

START_LIMIT = 60.0
"""Seconds that a start may take in which a cancel waits: given up half-way it could leave a job that nobody knows of."""

CLEANUP_SLACK = 5.0
"""Seconds beyond the clean-up limit of the settings that a cancel is waited for."""

OWNER = "exportd@localhost"
"""Whose the project is while it is exported by itself."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished archive."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    images: int
    warnings: tuple[str, ...]
    """What was skipped or repaired, a sentence each."""
    job_id: str


async def run_export(
    service: Service,
    user: User,
    project_id: str,
    options: ExportOptions,
    target: str | os.PathLike[str],
    *,
    name: str | None = None,
    on_event: OnEvent | None = None,
) -> Exported:
    """Exports a project of the service's catalogue to `target`, which appears whole or not at all.

    A cancel cancels the export as its user would: when it is through, no file and no thread of it is left. Raises what
    `Service.start` raises, `ExportFailed`, `ExportCancelled` when it was cancelled from elsewhere, and OSError.
    """
    request = StartRequest(options=options, project_name=name)
    with trio.fail_after(START_LIMIT), trio.CancelScope(shield=True):
        job = await service.start(user, project_id, request)
    try:
        await _follow(service, user, job.id, on_event)
        with await service.open_download(user, project_id, job.id) as download:
            await trio.to_thread.run_sync(_copy, download, Path(target))
            return _exported(download, Path(target))
    except BaseException:
        limit = service.settings.cleanup_timeout + CLEANUP_SLACK
        with trio.CancelScope(shield=True), trio.move_on_after(limit), suppress(JobConflict):
            await service.cancel(user, project_id, job.id)
        raise


async def _follow(service: Service, user: User, job_id: str, on_event: OnEvent | None) -> None:
    """Until the job has ended, or the service has."""
    with service.watch(user) as feed, suppress(trio.EndOfChannel):
        feed.subscribe(job_id=job_id, since=0)
        while True:
            frame = await feed.receive()
            if on_event is not None:
                on_event(orjson.loads(frame.payload))
            if frame.event in TERMINAL:
                return


def _copy(download: Download, target: Path) -> None:
    draft = target.with_name(f".{target.name}.{download.job.id[:8]}.part")
    try:
        with draft.open("wb") as file:
            while chunk := os.pread(download.fd, CHUNK, file.tell()):
                trio.from_thread.check_cancelled()
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _exported(download: Download, target: Path) -> Exported:
    job = download.job
    return Exported(target, download.size, job.sha256 or "", job.total_images, job.warnings, job.id)


# --- in one call ----------------------------------------------------------------------------------------------------


def export(
    project: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    formats: Sequence[FormatId] = (),
    metrics: Sequence[MetricsId] = (),
    originals: bool = True,
    visualizations: bool = False,
    documentation: bool = False,
    scale: float | None = None,
    images: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    on_event: OnEvent | None = None,
) -> Exported:
    """Exports a project to the file `target` and returns when it is there, whole.

    `project` is the path of a project.json or of COCO annotations, whose images are looked up below `images` and below
    its own folder; they are copied beside `target` meanwhile. With `data`, a data directory that no daemon serves, it is
    the id or the title of a project in there. `scale` is µm per pixel, for metrics.

    Ctrl-C cancels the export; nothing is left of it. Works in notebooks too, where an event loop runs already. In a trio
    program use `run_export`. Raises `ExportdError` and OSError.
    """
    options = ExportOptions(
        include_original_images=originals,
        include_visualizations=visualizations,
        include_documentation=documentation,
        annotation_formats=tuple(formats),
        metrics_formats=tuple(metrics),
        pixel_to_micrometer_scale=scale,
    )
    logs.be_quiet()
    place = Path(target)
    if data is not None:
        return _run(partial(_export_known, Settings(data=Path(data)), str(project), options, place, on_event))
    roots = None if images is None else Path(images)
    return _run(partial(_export_file, Path(project), roots, options, place, on_event))


async def _export_file(
    file: Path, images: Path | None, options: ExportOptions, target: Path, on_event: OnEvent | None
) -> Exported:
    """With a data directory of its own, beside the target: there has to be room for the archive anyway."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".exportd-") as folder:
        settings = Settings(data=Path(folder))
        imports = import_coco if await trio.to_thread.run_sync(_is_coco, file) else import_project
        imported = await trio.to_thread.run_sync(imports, settings, file, images, OWNER)
        async with open_service(settings) as service:
            user = service.catalogue.users()[0]
            done = await run_export(service, user, imported.project_id, options, target, on_event=on_event)
    return Exported(done.path, done.size, done.sha256, done.images, (*imported.warnings, *done.warnings), done.job_id)


def _is_coco(file: Path) -> bool:
    return any(key == "annotations" for key, _ in walk(file, {"images", "annotations"}, set()))


async def _export_known(
    settings: Settings, project: str, options: ExportOptions, target: Path, on_event: OnEvent | None
) -> Exported:
    """As its owner."""
    async with open_service(settings) as service:
        project_id = _known(service.catalogue.titles(), project)
        found = service.catalogue.project(project_id)
        owner = None if found is None else service.catalogue.user(id=found.owner_id)
        if owner is None:
            raise SettingsError(f"The project {project} has no owner in this catalogue.")
        return await run_export(service, owner, project_id, options, target, on_event=on_event)


def _known(titles: Sequence[tuple[str, str]], project: str) -> str:
    fitting = [known for known, title in titles if project in (known, title)]
    if len(fitting) != 1:
        raise SettingsError(
            f"{len(fitting) or 'No'} projects in this catalogue are called {project!r}; name one by its id."
        )
    return fitting[0]


def _run(call: Callable[[], Awaitable[T]]) -> T:
    """`trio.run`; in a thread of its own where an event loop runs in this one."""
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("exportd.export is for programs without trio; await exportd.run_export here.")
    try:
        return _run_in_thread(call) if _has_loop() else trio.run(call)
    except BaseExceptionGroup as group:
        raise _sole(group) from None


def _sole(error: BaseException) -> BaseException:
    """The one error that there is: every nursery on its way has put a group of its own around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _has_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # whoever runs a loop of it has it loaded
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_in_thread(call: Callable[[], Awaitable[T]]) -> T:
    """Ctrl-C goes to the main thread, which hands it on as a cancel and waits for the end."""
    scope, started = trio.CancelScope(), threading.Event()
    tokens: list[trio.lowlevel.TrioToken] = []
    results: list[T] = []

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        started.set()
        with scope:
            results.append(await call())

    with ThreadPoolExecutor(1, "exportd") as thread:
        running = thread.submit(trio.run, main)
        try:
            running.result()
        except KeyboardInterrupt:
            started.wait(CLEANUP_SLACK)
            for token in tokens:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(scope.cancel)
            raise
    return results[0]
