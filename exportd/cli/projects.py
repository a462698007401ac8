"""`projects`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from exportd.cli.output import answer_json, table
from exportd.cli.where import Where, daemon_options, json_option

if TYPE_CHECKING:
    from exportd.client import Json


@click.command(short_help="List the projects that you may export.")
@json_option
@daemon_options
def projects(where: Where, as_json: bool) -> None:
    """List the projects that you may export, the newest change first.

    \b
    exportd projects
    exportd projects --user you@example.org --json
    """
    import trio

    found = trio.run(_remote, where) if where.is_remote else _local(where)
    if as_json:
        answer_json(found)
    else:
        heads = ("PROJECT", "TITLE", "IMAGES", "TYPE", "OWNER", "CHANGED")
        keys = ("id", "title", "imageCount", "type", "ownerEmail", "updatedAt")
        table(heads, [["-" if row[key] is None else row[key] for key in keys] for row in found])


async def _remote(where: Where) -> list[Json]:
    async with where.client() as client:
        return await client.projects()


def _local(where: Where) -> list[Json]:
    """From the catalogue itself, whether a daemon runs or not."""
    from exportd.cli import users

    settings = where.settings
    with users.catalogue(settings) as known:
        return [project.as_wire() for project in known.projects(users.choose(settings, where.user, None, None))]


COMMANDS = (projects,)
