"""What the daemon serves from: `import`, `user`, `share`, `token`, and `config`.

These write the embedded catalogue and the uploads directory themselves; a daemon that runs meanwhile sees it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exportd.cli import completing
from exportd.cli.names import local_project
from exportd.cli.output import answer, answer_json, table, warn
from exportd.cli.where import Place, json_option, place_options
from exportd.masking import mask

if TYPE_CHECKING:
    from exportd.store.importers import Imported

_JSON_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_IMAGES = click.option(
    "--images",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the images are.",
)
_OWNER = click.option("--owner", metavar="EMAIL", required=True, help="Whose project it becomes; made if unknown.")
_TITLE = click.option("--title", help="What the project is called, instead of its own title or the file's name.")


def duration(value: str) -> float:
    """Seconds of `90`, `90s`, `10m`, `1h`, `2d`."""
    from exportd.settings import parse_duration

    try:
        seconds = float(str(parse_duration(value)))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if seconds <= 0:
        raise click.BadParameter("it is not longer than nothing.")
    return seconds


@click.group("import")
def import_() -> None:
    """Bring projects into the embedded catalogue; the project id is printed.

    \b
    exportd import coco annotations.json --images photos/ --owner you@example.org
    exportd import project project.json --owner you@example.org
    """


@import_.command()
@click.argument("annotations", metavar="ANNOTATIONS.json", type=_JSON_FILE)
@_IMAGES
@_OWNER
@_TITLE
@json_option
@place_options
def coco(place: Place, annotations: Path, images: Path | None, owner: str, title: str | None, as_json: bool) -> None:
    """Import COCO annotations as a project.

    Images are looked up below --images, then below the folder of the JSON file, and copied.

    \b
    exportd import coco annotations.json --images photos/ --owner you@example.org --title Nuclei
    """
    from exportd.store.importers import import_coco

    _tell_import(import_coco(place.settings, annotations, images, owner, title), as_json)


@import_.command()
@click.argument("project", metavar="PROJECT.json", type=_JSON_FILE)
@_IMAGES
@_OWNER
@_TITLE
@json_option
@place_options
def project(place: Place, project: Path, images: Path | None, owner: str, title: str | None, as_json: bool) -> None:
    """Import a project in the platform's own form.

    \b
    exportd import project project.json --owner you@example.org --json
    """
    from exportd.store.importers import import_project

    _tell_import(import_project(place.settings, project, images, owner, title), as_json)


def _tell_import(done: Imported, as_json: bool) -> None:
    if as_json:
        answer_json(done.as_wire())
    else:
        warn(done.warnings)
        answer(done.project_id)


@click.group()
def user() -> None:
    """Users of the embedded catalogue.

    \b
    exportd user add you@example.org
    exportd user list
    """


@user.command("add")
@click.argument("email")
@json_option
@place_options
def user_add(place: Place, email: str, as_json: bool) -> None:
    """Add a user; fine if there is one already. The user's id is printed.

    \b
    exportd user add you@example.org
    """
    from exportd.cli.users import embedded

    with embedded(place.settings) as writable:
        added = writable.add_user(email)
    if as_json:
        answer_json({"id": added.id, "email": added.email})
    else:
        answer(added.id)


@user.command("list")
@json_option
@place_options
def user_list(place: Place, as_json: bool) -> None:
    """List the users.

    \b
    exportd user list --json
    """
    from exportd.cli.users import catalogue

    with catalogue(place.settings) as known:
        users = known.users()
    if as_json:
        answer_json([{"id": one.id, "email": one.email} for one in users])
    else:
        table(("EMAIL", "ID"), [(one.email, one.id) for one in users])


@click.command()
@click.argument("project", shell_complete=completing.projects)
@click.argument("email")
@click.option("--pending", "status", flag_value="pending", help="Offer access; not accepted yet.")
@click.option("--revoke", "status", flag_value="revoked", help="Take access back.")
@json_option
@place_options
def share(place: Place, project: str, email: str, status: str | None, as_json: bool) -> None:
    """Give somebody access to a project, or take it back. Holds at once, for running exports too.

    \b
    exportd share nuclei colleague@example.org
    exportd share 5b0c colleague@example.org --revoke
    """
    from exportd.cli.users import embedded
    from exportd.store.embedded import ShareStatus

    wanted = ShareStatus(status or ShareStatus.ACCEPTED)
    with embedded(place.settings) as writable:
        project_id = local_project(place, project)
        shared_with = writable.share(project_id, email, wanted)
    if as_json:
        answer_json({"projectId": project_id, "email": shared_with.email, "status": wanted})
    else:
        answer(f"{wanted}: {shared_with.email}")


@click.command()
@click.option("--user", "email", metavar="EMAIL", required=True, help="Who the bearer of the token is.")
@click.option("--ttl", metavar="TIME", type=duration, default="1h", show_default=True, help="How long it is valid.")
@json_option
@place_options
def token(place: Place, email: str, ttl: float, as_json: bool) -> None:
    """Print a bearer token, alone on standard output.

    \b
    curl -H "Authorization: Bearer $(exportd token --user you@example.org)" http://127.0.0.1:8765/api/projects
    """
    from exportd.cli import users

    settings = place.settings
    made = users.token(settings, users.choose(settings, email, None, None), ttl)
    if as_json:
        answer_json({"token": made, "expiresIn": ttl})
    else:
        answer(made)


@click.command()
@json_option
@place_options
def config(place: Place, as_json: bool) -> None:
    """Print the effective settings, and where each comes from. Secrets are masked.

    \b
    exportd config
    EXPORTD_PORT=9000 exportd config --json
    """
    from exportd.settings import PREFIX

    loaded = place.load()
    values = {name: _shown(getattr(loaded.settings, name)) for name in type(loaded.settings).model_fields}
    if as_json:
        answer_json({name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()})
        return
    rows: list[Sequence[object]] = [
        (PREFIX + name.upper(), "-" if value is None else value, loaded.origins[name]) for name, value in values.items()
    ]
    table(("SETTING", "VALUE", "FROM"), rows)


def _shown(value: object) -> object:
    """A setting, JSON-ready and without its secrets."""
    match value:
        case None | bool() | int() | float():
            return value
        case tuple() if not hasattr(value, "_fields"):
            return list(value)
        case str():
            return mask(value)
        case _:
            return str(value)  # of a secret this is asterisks


COMMANDS = (import_, user, share, token, config)
