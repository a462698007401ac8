"""`deploy`."""

from __future__ import annotations

from importlib.resources import files

import click

from exportd.cli.where import Place, place_options

FILES = {"systemd": "exportd.service", "container": "Containerfile", "nginx": "nginx.conf"}
"""What is printed for a word: files of the package, each with what it is for on its first line."""


@click.command(short_help="Print files for systemd, containers and nginx.")
@click.argument("what", type=click.Choice(list(FILES)))
@place_options
def deploy(place: Place, what: str) -> None:
    """Print a file to run exportd for real with: a systemd unit, a container file, or nginx before it.

    \b
    exportd deploy systemd > /etc/systemd/system/exportd.service
    exportd deploy container | docker build --tag exportd --file - .
    exportd deploy nginx > /etc/nginx/conf.d/exportd.conf
    """
    del place  # every command takes a data directory; these files are the same wherever that is
    click.echo((files("exportd") / "deploy" / FILES[what]).read_text(encoding="utf-8"), nl=False)


COMMANDS = (deploy,)
