"""`verify`."""

from __future__ import annotations

from pathlib import Path

import click

from exportd.cli.failures import FAILED
from exportd.cli.output import answer, answer_json
from exportd.cli.where import Place, json_option, place_options


@click.command()
@click.argument("file", metavar="FILE.zip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@place_options
def verify(place: Place, file: Path, as_json: bool) -> None:
    """Check that an archive is whole and that its formats agree.

    Every file is read against its CRC, size and SHA-256; manifest.json and SHA256SUMS must list all of them and nothing
    else; all formats must tell of the same images and objects, but for what export_report.json says is left out. Needs
    no daemon. Ends with 0, or with 1 if something is wrong.

    \b
    exportd verify project.zip
    exportd verify project.zip --json
    """
    from exportd.verifying.archive import verify as check

    del place  # every command takes a data directory; an archive tells all that is needed here

    verdict = check(file)
    if as_json:
        answer_json(
            {
                "file": str(file),
                "whole": verdict.whole,
                "members": verdict.members,
                "bytes": verdict.size,
                "checks": list(verdict.checks),
                "faults": [fault._asdict() for fault in verdict.faults],
                "moreFaults": verdict.more_faults,
            }
        )
    else:
        for sentence in verdict.checks:
            answer(sentence)
        for fault in verdict.faults:
            answer(f"FAULT {fault.place}: {fault.sentence}.")
        if verdict.more_faults:
            answer(f"FAULT {verdict.more_faults} more are not listed.")
        count = len(verdict.faults) + verdict.more_faults
        answer(f"{file} is whole." if verdict.whole else f"{file}: {count} fault{'s' if count != 1 else ''}.")
    if not verdict.whole:
        raise click.exceptions.Exit(FAILED)


COMMANDS = (verify,)
