"""`jobs`, `watch`, `cancel`, `audit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from exportd.cli import completing
from exportd.cli.failures import CANCELLED, FAILED, Failure
from exportd.cli.names import find_job, job_prefix, local_job
from exportd.cli.output import answer, answer_json, size, table, tell
from exportd.cli.progress import display
from exportd.cli.where import Where, daemon_options, json_option, quiet_option

if TYPE_CHECKING:
    from exportd.client import Json


JOB = click.argument("job", type=job_prefix, shell_complete=completing.jobs)


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


@click.command(short_help="Watch an export until it has ended.")
@JOB
@quiet_option
@json_option
@daemon_options
def watch(where: Where, job: str, quiet: bool, as_json: bool) -> None:
    """Watch an export until it has ended; its outcome is the exit code. Ctrl-C only stops the watching.

    With --json each event is a line of JSON.

    \b
    exportd watch 9f2e
    exportd watch 9f2e --json | jq .data.progress
    exportd watch 9f2e --quiet && echo done
    """
    import trio

    _tell_outcome(trio.run(_watch, where, job if where.is_remote else local_job(where, job), quiet, as_json), quiet)


async def _watch(where: Where, job: str, quiet: bool, as_json: bool) -> Json:
    async with where.client(job_id=job) as client:
        found = await find_job(client, job)
        project_id, job_id = found["projectId"], found["id"]
        if as_json:
            return await client.follow(project_id, job_id, lambda frame: answer_json(frame, line=True))
        with display(quiet=quiet) as shown:
            return await client.follow(project_id, job_id, shown.frame)


def _tell_outcome(job: Json, quiet: bool) -> None:
    match job["status"]:
        case "completed" if quiet:
            pass
        case "completed":
            tell(f"completed: {job['fileName'] or 'the archive has expired'}")
        case "cancelled":
            raise Failure(f"cancelled by {job['cancelledBy']} at {job['cancelledAt']}", CANCELLED)
        case _:
            raise Failure(f"failed: {job['errorCode'] or job['message']}", FAILED)


@click.command()
@JOB
@json_option
@daemon_options
def cancel(where: Where, job: str, as_json: bool) -> None:
    """Cancel an export and wait until nothing of it is left.

    \b
    exportd cancel 9f2e
    """
    import trio

    done = trio.run(_cancel, where, job if where.is_remote else local_job(where, job))
    if as_json:
        answer_json(done)
    else:
        answer(done["message"])
        if not done["cleanupCompleted"]:
            tell("Its clean-up is still going on.")


async def _cancel(where: Where, job: str) -> Json:
    async with where.client(job_id=job) as client:
        found = await find_job(client, job)
        return await client.cancel(found["projectId"], found["id"])


@click.command(short_help="Show what happened to an export: when, who, why.")
@JOB
@json_option
@daemon_options
def audit(where: Where, job: str, as_json: bool) -> None:
    """Show every change of state of an export: who, when, why. Without --url also of a deleted one.

    \b
    exportd audit 9f2e --data /srv/exportd
    """
    rows = _remote_audit(where, job) if where.is_remote else _journal_audit(where, local_job(where, job))
    if not rows:
        raise Failure(f"The journal has nothing about {job}; `exportd jobs` lists what there is.")
    if as_json:
        answer_json(rows)
    else:
        names = ("time", "from", "to", "reason", "actor")
        table([name.upper() for name in names], [[row[name] or "-" for name in names] for row in rows])


def _journal_audit(where: Where, job_id: str) -> list[dict[str, Any]]:
    from exportd.store.journal import read_audit

    return [row.as_wire() for row in read_audit(where.settings.data, job_id)]


def _remote_audit(where: Where, job: str) -> list[Json]:
    import trio

    async def ask() -> list[Json]:
        async with where.client(job_id=job) as client:
            found = await find_job(client, job)
            return await client.audit(found["projectId"], found["id"])

    return trio.run(ask)


COMMANDS = (jobs, watch, cancel, audit)
