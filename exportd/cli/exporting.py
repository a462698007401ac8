"""`export` and `download`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exportd.cli.output import answer, answer_json, display
from exportd.cli.where import Where, daemon_options, find_job, json_option

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


_OUTPUT = click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="File or directory for the archive."
)


@click.command()
@click.argument("project_id", type=click.UUID)
@_OUTPUT
@click.option(
    "--format",
    "formats",
    metavar="FORMAT",
    multiple=True,
    type=annotation_format,
    help="Annotations as coco, yolo, json, labels, imagej, geojson, cvat or labelme; repeat it for more.",
)
@click.option(
    "--metrics",
    metavar="FORMAT",
    multiple=True,
    type=metrics_format,
    help="Metrics as excel, csv, json or parquet; repeat it for more.",
)
@click.option("--intensity", is_flag=True, help="With --metrics: intensities of each object from the raw pixels.")
@click.option("--originals/--no-originals", default=True, show_default=True, help="The image files themselves.")
@click.option("--visualizations", is_flag=True, help="Images with the polygons drawn over them.")
@click.option("--documentation", is_flag=True, help="What is in the archive, for people.")
@click.option("--scale", type=click.FloatRange(0.001, 1000), metavar="UM", help="Micrometres per pixel, for metrics.")
@click.option("--image", "images", multiple=True, metavar="ID", help="Only this image; repeat it.")
@click.option("--name", help="What the archive is called, instead of the project's title.")
@json_option
@daemon_options
def export(
    where: Where,
    project_id: object,
    output: Path | None,
    formats: tuple[str, ...],
    metrics: tuple[str, ...],
    intensity: bool,
    originals: bool,
    visualizations: bool,
    documentation: bool,
    scale: float | None,
    images: tuple[str, ...],
    name: str | None,
    as_json: bool,
) -> None:
    """Export a project, wait for it, and fetch the verified archive.

    With no content named, the archive holds the originals and every annotation format. Ctrl-C cancels the export for
    real. With no daemon running it is done in this process. The archive's path is printed on standard output.

    \b
    exportd export 5b0c... -o project.zip
    exportd export 5b0c... --format coco --format yolo --no-originals
    exportd export 5b0c... --metrics excel --intensity --scale 0.325 --url https://exports.example.org
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
    job, target = trio.run(_export, where, Order(str(project_id), chosen, name), named, output)
    _answer(job, target, as_json)


async def _export(where: Where, order: Order, named: bool, output: Path | None) -> tuple[Json, Path]:
    from exportd.errors import DataDirectoryInUse

    if where.is_remote or await _is_served(where):
        return await _by_daemon(where, order, named, output)
    try:
        return await _in_process(where, order, named, output)
    except* DataDirectoryInUse:
        pass  # it is just starting, or has been started meanwhile
    return await _by_daemon(where, order, named, output)


async def _is_served(where: Where) -> bool:
    from exportd.client import Client

    if (url := where.running_url()) is None:
        return False
    async with Client(url, None) as client:
        return await client.is_alive()


async def _by_daemon(where: Where, order: Order, named: bool, output: Path | None) -> tuple[Json, Path]:
    from exportd.cli.backends import Remote

    async with where.client(project_id=order.project_id) as client:
        if not named:
            table = await client.formats()
            order = order.with_formats([row["id"] for row in table["annotations"]])
        return await run(Remote(client, order), output)


async def _in_process(where: Where, order: Order, named: bool, output: Path | None) -> tuple[Json, Path]:
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
        return await run(Local(service, user, order), output)


async def run(backend: Backend, output: Path | None) -> tuple[Json, Path]:
    """One export, shown on standard error."""
    from exportd.cli.session import Session

    with display() as shown:
        return await Session(backend, shown).run(output)


@click.command()
@click.argument("job", type=click.UUID)
@_OUTPUT
@json_option
@daemon_options
def download(where: Where, job: object, output: Path | None, as_json: bool) -> None:
    """Fetch the archive of a completed export; goes on where an earlier download stopped.

    \b
    exportd download 9f2e... -o project.zip
    """
    import trio

    found, target = trio.run(_download, where, str(job), output)
    _answer(found, target, as_json)


async def _download(where: Where, job_id: str, output: Path | None) -> tuple[Json, Path]:
    from exportd.cli.session import target_of

    async with where.client(job_id=job_id) as client:
        job = await find_job(client, job_id)
        target = target_of(output, job)
        with display() as shown:
            await client.download(job, target, shown.bytes)
    return job, target


def _answer(job: Json, target: Path, as_json: bool) -> None:
    from exportd.cli.session import report

    report(job, target)
    if as_json:
        answer_json({**job, "file": str(target)})
    else:
        answer(target)


COMMANDS = (export, download)
