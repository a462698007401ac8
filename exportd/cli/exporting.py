"""`export` and `download`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exportd.cli import completing
from exportd.cli.names import find_job, job_prefix, local_job, local_project, remote_project
from exportd.cli.output import answer, answer_json, tell
from exportd.cli.progress import display
from exportd.cli.where import Where, daemon_options, json_option, quiet_option

if TYPE_CHECKING:
    from exportd.cli.backends import Backend, Order
    from exportd.client import Json


def annotation_format(value: str) -> str:
    """The name of an annotation format. Looked up only when one is given: importing the names takes its time."""
    from exportd.core.options import FORMAT_IDS

    return _one_of(FORMAT_IDS, value)


def metrics_format(value: str) -> str:
    from exportd.core.options import METRICS_IDS

    return _one_of(METRICS_IDS, value)


def _one_of(names: Sequence[str], value: str) -> str:
    if value.lower() not in names:
        raise click.BadParameter(f"{value!r} is none of {', '.join(names)}.")
    return value.lower()


@dataclass(frozen=True, slots=True)
class Goal:
    """Where the archive goes, what is made of it, and how much is told meanwhile."""

    output: Path | None
    folder: Path | None
    quiet: bool
    as_json: bool

    @property
    def _passing(self) -> bool:
        """Whether the archive is only there to be unpacked."""
        return self.folder is not None and self.output is None

    def check(self) -> None:
        """Raises `Failure` and `click.UsageError` for what cannot be done, before anything is."""
        if str(self.output) == "-":
            if self.as_json or self.folder is not None:
                raise click.UsageError("With `-o -` standard output is the archive: leave out --json and --extract.")
            from exportd.cli.delivering import check_stdout

            check_stdout()
        if self.folder is not None:
            from exportd.cli.extracting import check_folder

            check_folder(self.folder)

    def target(self, job: Json) -> Path:
        """Where the archive of that job goes."""
        if self.folder is not None and self._passing:
            from exportd.cli.extracting import archive_beside

            self.folder.parent.mkdir(parents=True, exist_ok=True)
            return archive_beside(self.folder, job["id"])
        from exportd.cli.session import target_of

        return target_of(self.output, job)

    def finish(self, job: Json, target: Path) -> None:
        """Unpacks, if that is wanted, and answers."""
        from exportd.cli.session import report

        if not self.quiet:
            report(job, None if self._passing else target)
        if self.folder is not None:
            self._unpack(self.folder, target)
        if self.as_json:
            places = {"file": None if self._passing else target, "folder": self.folder}
            answer_json({**job, **{name: str(place) for name, place in places.items() if place is not None}})
        elif str(target) != "-":
            answer(self.folder if self.folder is not None else target)

    def _unpack(self, folder: Path, archive: Path) -> None:
        from exportd.cli.extracting import extract

        count = extract(archive, folder)
        if self._passing:
            archive.unlink()
        if not self.quiet:
            tell(f"{count} files unpacked into {folder}.")


def goal_options(command: Callable[..., None]) -> Callable[..., None]:
    """`-o`, `--extract`, `--quiet` and `--json`, handed to the command as `goal`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any, output: Path | None, folder: Path | None, quiet: bool, as_json: bool, **kwargs: Any
    ) -> None:
        goal = Goal(output, folder, quiet, as_json)
        goal.check()
        command(*args, goal=goal, **kwargs)

    for option in (json_option, quiet_option, _EXTRACT, _OUTPUT):
        wrapped = option(wrapped)
    return wrapped


_OUTPUT = click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File or directory for the archive; - is standard output.",
)
_EXTRACT = click.option(
    "--extract",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Unpack into this new folder; the archive itself is kept only with -o.",
)


@click.command()
@click.argument("project", shell_complete=completing.projects)
@click.option(
    "--format",
    "formats",
    metavar="FORMAT",
    multiple=True,
    type=annotation_format,
    shell_complete=completing.annotation_formats,
    help="Annotations as coco, yolo, json, labels, imagej, geojson, cvat or labelme; repeat it for more.",
)
@click.option(
    "--metrics",
    metavar="FORMAT",
    multiple=True,
    type=metrics_format,
    shell_complete=completing.metrics_formats,
    help="Metrics as excel, csv, json or parquet; repeat it for more.",
)
@click.option("--intensity", is_flag=True, help="With --metrics: intensities of each object from the raw pixels.")
@click.option("--originals/--no-originals", default=True, show_default=True, help="The image files themselves.")
@click.option("--visualizations", is_flag=True, help="Images with the polygons drawn over them.")
@click.option("--documentation", is_flag=True, help="What is in the archive, for people.")
@click.option("--scale", type=click.FloatRange(0.001, 1000), metavar="UM", help="Micrometres per pixel, for metrics.")
@click.option(
    "--image", "images", multiple=True, metavar="NAME", help="Only images of this name, pattern or id; repeat it."
)
@click.option("--name", help="What the archive is called, instead of the project's title.")
@goal_options
@daemon_options
def export(
    where: Where,
    project: str,
    goal: Goal,
    formats: tuple[str, ...],
    metrics: tuple[str, ...],
    intensity: bool,
    originals: bool,
    visualizations: bool,
    documentation: bool,
    scale: float | None,
    images: tuple[str, ...],
    name: str | None,
) -> None:
    """Export a project, wait for it, and fetch the verified archive.

    PROJECT is a title, an id, or the beginning of either. With no content named, the archive holds the originals and
    every annotation format. Ctrl-C cancels the export for real. With no daemon running it is done in this process. The
    archive's path is printed on standard output.

    \b
    exportd export nuclei -o nuclei.zip
    exportd export nuclei --extract nuclei/ --format yolo
    exportd export 5b0c --format coco --no-originals -o - | ssh lab 'cat > nuclei.zip'
    exportd export nuclei --image 'plate3_*' --format yolo
    exportd export 5b0c --metrics excel --intensity --scale 0.325 --url https://exports.example.org
    """
    import trio

    from exportd.cli.backends import Order

    chosen: dict[str, Any] = {
        "includeOriginalImages": originals,
        "includeVisualizations": visualizations,
        "includeDocumentation": documentation,
        "annotationFormats": list(formats),
        "metricsFormats": list(metrics),
        "intensityMetrics": intensity,
    }
    if scale is not None:
        chosen["pixelToMicrometerScale"] = scale
    if images:
        chosen["selectedImageIds"] = list(images)
    named = bool(formats or metrics or visualizations or documentation)
    if name is not None and not name.strip():
        raise click.BadParameter("a name is not empty.", param_hint="--name")
    if not where.is_remote:
        project = local_project(where, project, where.user)
    goal.finish(*trio.run(_export, where, Order(project, chosen, name), named, goal))


async def _export(where: Where, order: Order, named: bool, goal: Goal) -> tuple[Json, Path]:
    from exportd.errors import DataDirectoryInUse

    if where.is_remote:
        order = replace(order, project_id=await remote_project(where, order.project_id))
    if where.is_remote or await _is_served(where):
        return await _by_daemon(where, order, named, goal)
    try:
        return await _in_process(where, order, named, goal)
    except* DataDirectoryInUse:
        pass  # it is just starting, or has been started meanwhile
    return await _by_daemon(where, order, named, goal)


async def _is_served(where: Where) -> bool:
    from exportd.client import Client

    if (url := where.running_url()) is None:
        return False
    async with Client(url, None) as client:
        return await client.is_alive()


async def _by_daemon(where: Where, order: Order, named: bool, goal: Goal) -> tuple[Json, Path]:
    from exportd.cli.backends import Remote

    async with where.client(project_id=order.project_id) as client:
        if not named:
            table = await client.formats()
            order = order.with_formats([row["id"] for row in table["annotations"]])
        return await run(Remote(client, order), goal.target, quiet=goal.quiet)


async def _in_process(where: Where, order: Order, named: bool, goal: Goal) -> tuple[Json, Path]:
    from exportd import logs
    from exportd.cli import users
    from exportd.cli.backends import Local
    from exportd.formats.table import FORMATS
    from exportd.jobs.service import open_service

    loaded = where.load()
    settings = loaded.settings
    if loaded.origins["log_level"] == "default":  # here somebody looks at a bar, not at a log
        settings = settings.model_copy(update={"log_level": "warning"})
    logs.configure(settings)
    if not named:
        order = order.with_formats([row.id for row in FORMATS])
    user = users.choose(settings, where.user, order.project_id, None)
    async with open_service(settings) as service:
        return await run(Local(service, user, order), goal.target, quiet=goal.quiet)


async def run(backend: Backend, target_of: Callable[[Json], Path], *, quiet: bool = False) -> tuple[Json, Path]:
    """One export, shown on standard error."""
    from exportd.cli import images
    from exportd.cli.session import Session

    await images.choose(backend)
    with display(quiet=quiet) as shown:
        return await Session(backend, shown).run(target_of)


@click.command(short_help="Fetch an archive; goes on where it stopped.")
@click.argument("job", type=job_prefix, shell_complete=completing.jobs)
@goal_options
@daemon_options
def download(where: Where, job: str, goal: Goal) -> None:
    """Fetch the archive of a completed export; goes on where an earlier download stopped.

    \b
    exportd download 9f2e -o project.zip
    exportd download 9f2e --extract project/
    """
    import trio

    goal.finish(*trio.run(_download, where, job if where.is_remote else local_job(where, job), goal))


async def _download(where: Where, job_id: str, goal: Goal) -> tuple[Json, Path]:
    from exportd.cli.delivering import opened

    async with where.client(job_id=job_id) as client:
        job = await find_job(client, job_id)
        target = goal.target(job)
        with display(quiet=goal.quiet) as shown:
            await client.fetch(job, functools.partial(opened, target), shown.bytes)
    return job, target


COMMANDS = (export, download)
