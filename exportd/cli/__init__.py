"""The `exportd` command. The top layer: may import all others, each where a command needs it, because `--help` is quick.

failures     errors -> sentence, advice, exit code  output      what is printed where; `progress` how an export goes on
where        options that every command has; which daemon, as whom; `names` which project or job is meant
serving      serve, demo                            sources     import, user, share, token, config
exporting    export, download; `images` which ones  jobs        jobs, watch, cancel, audit; `projects` projects
verifying    verify                                 deploying   deploy
initialising init                                   doctoring   doctor; `checkup` what it looks at
session      one export from start to file, and what Ctrl-C does to it; `backends` for with and without a daemon
delivering   a file or standard output              extracting  unpacking; `completing` completion
"""

from __future__ import annotations

import click

from exportd import __version__
from exportd.cli import (
    completing,
    deploying,
    doctoring,
    exporting,
    initialising,
    jobs,
    projects,
    serving,
    sources,
    verifying,
)
from exportd.cli.failures import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="exportd")
def cli() -> None:
    """Export annotated image projects as archives, in background jobs whose cancel is final.

    \b
    See it work:        exportd demo
    Set it up:          exportd init, then exportd doctor
    Bring a project:    exportd import coco annotations.json --owner you@example.org
    Serve it:           exportd serve
    Export it:          exportd export PROJECT -o project.zip
    Check it:           exportd verify project.zip
    Complete it:        eval "$(exportd completion bash)"

    Exit codes: 0 done, 1 failed, 2 usage, 3 cancelled, 4 not reachable, 5 not allowed.
    """


ROOMS = (serving, initialising, doctoring, sources, projects, exporting, jobs, verifying, deploying, completing)

for room in ROOMS:
    for command in room.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """The console script."""
    cli(prog_name="exportd")
