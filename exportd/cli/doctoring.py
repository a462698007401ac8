"""`doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from exportd.cli.failures import FAILED
from exportd.cli.output import answer_json, coloured, printable
from exportd.cli.where import Place, json_option, place_options

if TYPE_CHECKING:
    from exportd.cli.checkup import Finding

MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "fault": ("FAULT", "red")}


@click.command(short_help="Check what exportd stands on; tell how to mend it.")
@click.option("--images/--no-images", default=True, show_default=True, help="Look at every image file, too.")
@json_option
@place_options
def doctor(place: Place, images: bool, as_json: bool) -> None:
    """Check what exportd stands on, and tell how to mend what is not well. Changes nothing; fine beside a daemon.

    Looks at settings, data directory and journal, free space, catalogue, images and clock. Ends with 0 when no fault was
    found (warnings are none), else with 1.

    \b
    exportd doctor
    exportd doctor --data /srv/exportd --no-images --json
    """
    findings = []
    for finding in _findings(place, images):
        findings.append(finding)
        if not as_json:
            _tell(finding)
    if as_json:
        answer_json([finding._asdict() for finding in findings])
    if any(finding.level == "fault" for finding in findings):
        raise click.exceptions.Exit(FAILED)


def _findings(place: Place, images: bool) -> Iterator[Finding]:
    from exportd.cli import checkup
    from exportd.errors import SettingsError

    try:
        loaded = place.load()
    except SettingsError as error:
        yield checkup.unreadable(error)
        return
    yield from checkup.settings(loaded)
    yield from checkup.data_directory(loaded.settings)
    yield from checkup.space(loaded.settings)
    yield from checkup.catalogue(loaded.settings)
    if images:
        yield from checkup.images(loaded.settings)
    yield from checkup.clock(loaded.settings)


def _tell(finding: Finding) -> None:
    import sys

    word, colour = MARKS[finding.level]
    mark = click.style(f"{word:8}", fg=colour) if coloured(sys.stdout) else f"{word:8}"
    click.echo(f"{mark}{finding.check:11}{printable(finding.found)}")
    if finding.mend:
        click.echo(f"{'':19}mend: {printable(finding.mend)}")


COMMANDS = (doctor,)
