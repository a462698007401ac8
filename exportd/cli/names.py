"""Which project or job is meant: by id, by the beginning of one, or a project by its title."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from exportd.cli.failures import FAILED, USAGE, Failure

if TYPE_CHECKING:
    from exportd.cli.where import Place, Where
    from exportd.client import Client, Json

Known = tuple[str, str]
"""Id and title."""

LISTED = 5
"""Of several that fit, so many are named."""

ID_LENGTH = 36
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIX = re.compile(r"[0-9a-f]{4}[0-9a-f-]*")


def is_id(text: str) -> bool:
    """Whether it is an id as a whole: then nothing has to be looked up."""
    return _UUID.fullmatch(text.lower()) is not None


def job_prefix(value: str) -> str:
    """A job's id, or the beginning of it."""
    if not _PREFIX.fullmatch(value.lower()) or len(value) > ID_LENGTH:
        raise click.BadParameter(
            f"{value!r} is no id of an export, nor four letters of one; `exportd jobs` lists them."
        )
    return value.lower()


def pick(text: str, projects: Sequence[Known]) -> str:
    """The id of the one project that is meant. Raises `Failure` for none and for several.

    What fits best counts: the title as a whole, else the beginning of an id, else the beginning of a title; all in any
    case.
    """
    wanted = text.strip().casefold()
    readings: Iterable[list[Known]] = (
        [known for known in projects if known[1].strip().casefold() == wanted],
        [known for known in projects if _PREFIX.fullmatch(wanted) and known[0].startswith(wanted)],
        [known for known in projects if wanted and known[1].strip().casefold().startswith(wanted)],
    )
    for found in readings:
        if len(found) == 1:
            return found[0][0]
        if found:
            raise Failure(f"{len(found)} projects fit {text!r}; say which by its id:{_listed(found)}", USAGE)
    if not projects:
        raise Failure("There are no projects yet; `exportd import` brings one in, `exportd demo` makes one.", USAGE)
    raise Failure(f"No project is called {text!r}; there are:{_listed(projects)}", USAGE)


def _listed(projects: Sequence[Known]) -> str:
    lines = [f"\n  {project}  {title}" for project, title in projects[:LISTED]]
    if len(projects) > LISTED:
        lines.append(f"\n  and {len(projects) - LISTED} more, which `exportd projects` lists")
    return "".join(lines)


async def remote_project(where: Where, text: str) -> str:
    """The id of a project of a daemon, among those that whoever asks may export."""
    if is_id(text):
        return text.lower()
    async with where.client() as client:
        return pick(text, [(row["id"], row["title"]) for row in await client.projects()])


def local_project(place: Place, text: str, user: str | None = None) -> str:
    """The id of a project of the data directory: of what `user` may export, or of all. Blocking."""
    if is_id(text):
        return text.lower()
    from exportd.cli import users

    settings = place.settings
    with users.catalogue(settings) as known:
        if user is None:
            return pick(text, known.titles())
        mine = known.projects(users.choose(settings, user, None, None))
        return pick(text, [(project.id, project.title) for project in mine])


def local_job(place: Place, text: str) -> str:
    """The id of a job that the journal of the data directory knows; the text itself when it knows none. Blocking."""
    if is_id(text):
        return text
    from exportd.errors import DataDirectoryUnusable
    from exportd.store.journal import read_ids

    try:
        found = read_ids(place.settings.data, text)
    except DataDirectoryUnusable:
        return text
    return _one(text, found) if found else text


def _one(text: str, found: Sequence[str]) -> str:
    if len(found) > 1:
        more = "".join(f"\n  {job}" for job in found[:LISTED])
        raise Failure(f"{len(found)} exports begin with {text}; say more of the id:{more}", USAGE)
    return found[0]


async def find_job(client: Client, text: str) -> Json:
    """The job object of a job that the caller may see. Raises `Failure` if there is none, or more than one."""
    jobs = {job["id"]: job for job in await client.exports() if job["id"].startswith(text)}
    if not jobs:  # somebody else's job in a project of ours, or a very old one
        for project in await client.projects():
            rows = await client.history(project["id"], 100)
            jobs |= {job["id"]: job for job in rows if job["id"].startswith(text)}
            if text in jobs:
                break
    if not jobs:
        hint = "`exportd jobs` lists yours"
        raise Failure(
            f"There is no export {text}, or you have no access to it; {hint}.", FAILED if is_id(text) else USAGE
        )
    found: Json = jobs[_one(text, list(jobs))]
    return found
