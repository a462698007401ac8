"""`jobs`, `watch`, `cancel`, `audit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from exportd.cli.failures import CANCELLED, FAILED, Failure
from exportd.cli.output import answer, answer_json, display, size, table, tell
from exportd.cli.where import Where, daemon_options, find_job, json_option

if TYPE_CHECKING:
    from exportd.client import Json


@click.command()
@json_option
@daemon_options
def jobs(where: Where, as_json: bool) -> None:
    """List your exports, newest first.

    \b
    exportd jobs
    exportd jobs --user you@example.org --json
    """
    import trio

    found = trio.run(_jobs, where)
    if as_json:
        answer_json(found)
    else:
        heads = ("JOB", "STATUS", "PROGRESS", "PROJECT", "CREATED", "SIZE")
        table(heads, map(_row, found))


async def _jobs(where: Where) -> list[Json]:
    async with where.client() as client:
        return await client.exports()


def _row(job: Json) -> Sequence[object]:
    bytes_ = "" if job["fileSize"] is None else size(job["fileSize"])
    return (job["id"], job["status"], f"{job['progress']} %", job["projectName"], job["createdAt"], bytes_)


@click.command()
@click.argument("job", type=click.UUID)
@json_option
@daemon_options
def watch(where: Where, job: object, as_json: bool) -> None:
    """Watch an export until it has ended; its outcome is the exit code. Ctrl-C only stops the watching.

    With --json each event is a line of JSON.

    \b
    exportd watch 9f2e...
    exportd watch 9f2e... --json | jq .data.progress
    """
    import trio

    _tell_outcome(trio.run(_watch, where, str(job), as_json))


async def _watch(where: Where, job_id: str, as_json: bool) -> Json:
    async with where.client(job_id=job_id) as client:
        found = await find_job(client, job_id)
        project_id = found["projectId"]
        if as_json:
            return await client.follow(project_id, job_id, lambda frame: answer_json(frame, line=True))
        with display() as shown:
            return await client.follow(project_id, job_id, shown.frame)


def _tell_outcome(job: Json) -> None:
    match job["status"]:
        case "completed":
            tell(f"completed: {job['fileName'] or 'the archive has expired'}")
        case "cancelled":
            raise Failure(f"cancelled by {job['cancelledBy']} at {job['cancelledAt']}", CANCELLED)
        case _:
            raise Failure(f"failed: {job['errorCode'] or job['message']}", FAILED)


@click.command()
@click.argument("job", type=click.UUID)
@json_option
@daemon_options
def cancel(where: Where, job: object, as_json: bool) -> None:
    """Cancel an export and wait until nothing of it is left.

    \b
    exportd cancel 9f2e...
    """
    import trio

    done = trio.run(_cancel, where, str(job))
    if as_json:
        answer_json(done)
    else:
        answer(done["message"])
        if not done["cleanupCompleted"]:
            tell("Its clean-up is still going on.")


async def _cancel(where: Where, job_id: str) -> Json:
    async with where.client(job_id=job_id) as client:
        found = await find_job(client, job_id)
        return await client.cancel(found["projectId"], job_id)


@click.command()
@click.argument("job", type=click.UUID)
@json_option
@daemon_options
def audit(where: Where, job: object, as_json: bool) -> None:
    """Show every change of state of an export: who, when, why. Without --url also of a deleted one.

    \b
    exportd audit 9f2e... --data /srv/exportd
    """
    rows = _remote_audit(where, str(job)) if where.is_remote else _journal_audit(where, str(job))
    if not rows:
        raise Failure(f"The journal has nothing about {job}.")
    if as_json:
        answer_json(rows)
    else:
        names = ("time", "from", "to", "reason", "actor")
        table([name.upper() for name in names], [[row[name] or "-" for name in names] for row in rows])


def _journal_audit(where: Where, job_id: str) -> list[dict[str, Any]]:
    from exportd.store.journal import read_audit

    return [row.as_wire() for row in read_audit(where.settings.data, job_id)]


def _remote_audit(where: Where, job_id: str) -> list[Json]:
    import trio

    async def ask() -> list[Json]:
        async with where.client(job_id=job_id) as client:
            found = await find_job(client, job_id)
            return await client.audit(found["projectId"], job_id)

    return trio.run(ask)


COMMANDS = (jobs, watch, cancel, audit)
