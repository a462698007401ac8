"""The `exportd` command. The top layer: may import all others, each where a command needs it, because `--help` is quick.

failures     one table error -> exit code          output      what is printed where
where        options that every command has; which daemon, as whom
serving      serve, demo                           sources     import, user, share, token, config
exporting    export, download                      jobs        jobs, watch, cancel, audit
verifying    verify
session      one export from start to file, and what Ctrl-C does to it; `backends` for with and without a daemon
"""

from __future__ import annotations

import click

from exportd import __version__
from exportd.cli import exporting, jobs, serving, sources, verifying
from exportd.cli.failures import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="exportd")
def cli() -> None:
    """Export annotated image projects as archives, in background jobs whose cancel is final.

    \b
    See it work:        exportd demo
    Bring a project:    exportd import coco annotations.json --owner you@example.org
    Serve it:           exportd serve
    Export it:          exportd export PROJECT_ID -o project.zip
    Check it:           exportd verify project.zip

    Exit codes: 0 done, 1 failed, 2 usage, 3 cancelled, 4 not reachable, 5 not allowed.
    """


for command in (*serving.COMMANDS, *sources.COMMANDS, *exporting.COMMANDS, *jobs.COMMANDS, *verifying.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    cli(prog_name="exportd")
