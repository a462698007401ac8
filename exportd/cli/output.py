"""What is printed, and where: answers on standard output, everything that is told meanwhile on standard error.

Colours and bars are for terminals; how an export goes on is shown by `progress`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click

COLOURS = {
    "completed": "green", "failed": "red", "cancelled": "yellow", "processing": "cyan",
    "ok": "green", "warning": "yellow", "fault": "red",
}  # fmt: skip
"""Of words that stand alone in a cell of a table."""


def coloured(stream: IO[str]) -> bool:
    """Whether colours belong there: on a terminal, unless its user wants none (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def tell(text: str) -> None:
    """A line for whoever sits there."""
    click.echo(printable(text), err=True)


def tell_error(text: str) -> None:
    """Why a command ends."""
    head = click.style("Error:", fg="red", bold=True) if coloured(sys.stderr) else "Error:"
    click.echo(f"{head} {printable(text)}", err=True)


def warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        tell(f"warning: {warning}")


def answer(text: object) -> None:
    """A line of the answer."""
    click.echo(printable(str(text)))


def answer_json(value: Any, *, line: bool = False) -> None:
    """The answer for a program: indented, or one line of many."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=None if line else 2, default=str))


def printable(text: str) -> str:
    """Names come from projects and from other people's servers: none of them may steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal; on a pipe tab-separated lines without heads, for cut and awk."""
    if not sys.stdout.isatty():
        for row in rows:
            answer("\t".join(str(cell).replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        drawn.add_column(head, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(str(cell)), COLOURS.get(str(cell), "")) for cell in row))
    Console().print(drawn)


def size(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def many(count: int, what: str) -> str:
    """A count of things."""
    return f"{count} {what}{'s' if count != 1 else ''}"


def span(seconds: float) -> str:
    """A stretch of time for a person."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 5400 else f"{whole / 3600:.1f} h"
