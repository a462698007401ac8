"""`completion`, and what the shell is told of projects and jobs. Never more than a silence when something is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from exportd.cli.where import Place, place_options

if TYPE_CHECKING:
    from exportd.settings import Settings

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_EXPORTD_COMPLETE"
"""By which click knows that it is the shell who asks."""

OFFERED = 50
"""Projects or jobs, the newest of those."""

_PLAIN = re.compile(r"[\w.,+@%-]+")
"""Titles that need no quotes in any shell."""


@click.command(short_help="Print what makes the shell complete what you type.")
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@place_options
def completion(place: Place, shell: str | None) -> None:
    """Print what makes the shell complete commands, options, projects and jobs; by default for the shell you use.

    \b
    eval "$(exportd completion bash)"                                   in ~/.bashrc
    eval "$(exportd completion zsh)"                                    in ~/.zshrc
    exportd completion fish > ~/.config/fish/completions/exportd.fish
    """
    del place  # every command takes a data directory; what is printed asks again each time
    shell = shell or Path(os.environ.get("SHELL", "")).name
    made = get_completion_class(shell)
    if shell not in SHELLS or made is None:
        raise click.UsageError(f"Say for which shell: {', '.join(SHELLS)}.")
    click.echo(made(click.get_current_context().find_root().command, {}, "exportd", VARIABLE).source())


def projects(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Projects of the data directory: by title where that needs no quotes, else by id."""
    return _quietly(ctx, lambda settings: _projects(settings, incomplete))


def jobs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Jobs that the journal of the data directory knows, the newest first."""
    return _quietly(ctx, lambda settings: _jobs(settings, incomplete))


def annotation_formats(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the annotation formats."""
    from exportd.core.options import FORMAT_IDS

    return [CompletionItem(i) for i in FORMAT_IDS if i.startswith(incomplete.lower())]


def metrics_formats(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the formats of metrics."""
    from exportd.core.options import METRICS_IDS

    return [CompletionItem(i) for i in METRICS_IDS if i.startswith(incomplete.lower())]


def _quietly(ctx: click.Context, offer: Callable[[Settings], list[CompletionItem]]) -> list[CompletionItem]:
    given: dict[str, Any] = ctx.params
    try:
        return offer(Place(given.get("data"), given.get("config")).settings)
    except Exception:  # noqa: BLE001 - in the middle of somebody's typing is no place for an error
        return []


def _projects(settings: Settings, incomplete: str) -> list[CompletionItem]:
    from exportd.cli import users
    from exportd.store.engines import FILE_NAME

    if settings.database_url is None and not (settings.data / FILE_NAME).exists():
        return []  # opening it would make one
    typed = incomplete.casefold()
    with users.catalogue(settings) as known:
        fitting = [
            (i, title) for i, title in known.titles() if i.startswith(typed) or title.casefold().startswith(typed)
        ]
    return [
        CompletionItem(title if _PLAIN.fullmatch(title) and not i.startswith(typed or "-") else i, help=title)
        for i, title in fitting[:OFFERED]
    ]


def _jobs(settings: Settings, incomplete: str) -> list[CompletionItem]:
    from exportd.store.journal import read_recent

    found = read_recent(settings.data, incomplete.lower(), OFFERED)
    return [
        CompletionItem(job.id, help=f"{job.status}, {job.project_name}, {job.created_at:%Y-%m-%d %H:%M}")
        for job in found
    ]


COMMANDS = (completion,)
