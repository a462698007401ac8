"""What is printed, and where: answers on standard output, everything that is told meanwhile on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STEP = 20
"""Per cent between two lines of progress where there is no terminal."""


def tell(text: str) -> None:
    """A line for whoever sits there."""
    click.echo(printable(text), err=True)


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
        drawn.add_row(*(Text(printable(str(cell))) for cell in row))
    Console().print(drawn)


class Display(Protocol):
    """Shows how an export goes on. A context manager; sync, so that it can be called from anywhere."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def frame(self, frame: dict[str, Any]) -> None:
        """An event of the job."""

    def bytes(self, done: int, total: int) -> None:
        """What of the archive has been fetched."""


def display() -> Display:
    """A bar on a terminal, lines elsewhere; on standard error both."""
    return Bar() if sys.stderr.isatty() else Lines()


class Lines:
    """A line for each stage and each `STEP` per cent."""

    def __init__(self) -> None:
        self._told: tuple[object, ...] = ()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def frame(self, frame: dict[str, Any]) -> None:
        data = frame["data"]
        if frame["event"] == "export:progress":
            percent = int(data.get("progress") or 0)
            self._tell((data.get("stage"), percent // STEP), f"{percent:3d} % {_doing(data)}")

    def bytes(self, done: int, total: int) -> None:
        percent = 100 * done // max(1, total)
        self._tell(("download", percent // STEP), f"{percent:3d} % downloading")

    def _tell(self, place: tuple[object, ...], text: str) -> None:
        if place != self._told:
            self._told = place
            tell(text.rstrip())


class Bar:
    """A progress bar, and below it another one while the archive is fetched."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._export: TaskID | None = None
        self._download: TaskID | None = None

    def __enter__(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        # No markup: what is described holds names of images.
        label = TextColumn("{task.description}", markup=False)
        self._progress = Progress(
            BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), label, console=Console(stderr=True)
        )
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def frame(self, frame: dict[str, Any]) -> None:
        data = frame["data"]
        if frame["event"] == "export:completed":
            self._export = self._update(self._export, "exported", 100, 100)
        elif data.get("progress") is not None:
            self._export = self._update(self._export, _doing(data), data["progress"], 100)

    def bytes(self, done: int, total: int) -> None:
        self._download = self._update(self._download, "downloading", done, total)

    def _update(self, task: TaskID | None, text: str, done: float, total: float) -> TaskID | None:
        if self._progress is None:
            return None
        if task is None:
            task = self._progress.add_task(text, total=total)
        self._progress.update(task, completed=done, description=printable(text))
        return task


def _doing(data: dict[str, Any]) -> str:
    """What an export does at the moment, in a few words."""
    if data.get("queuePosition"):
        return f"waiting, number {data['queuePosition']} in the queue"
    count = data.get("stageProgress") or {}
    if not data.get("stage"):
        return str(data.get("message") or "")
    place = f" {count['current']}/{count['total']}" if count.get("total") else ""
    return f"{data['stage']}{place} {count.get('currentItem') or ''}".rstrip()


def size(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
