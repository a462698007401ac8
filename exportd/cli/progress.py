"""How an export goes on: a bar on a terminal, lines elsewhere, nothing when that is wanted. On standard error, all."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from exportd.cli.output import printable, size, span, tell

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STEP = 20
"""Per cent between two lines of progress where there is no terminal."""

SETTLED = 1.0
"""Seconds before a rate is told: the first steps tell nothing of those that follow."""


BAR = 24
"""Cells of the bar: what is told beside it may be as long as it likes."""

PER_IMAGE = {"images", "visualizations"}
"""Stages that count each image once; the others count it for every format."""


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


def display(*, quiet: bool = False) -> Display:
    """What fits where standard error leads."""
    if quiet:
        return Silence()
    return Bar() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()


class Rate:
    """How fast a count grows, on the mean since its place (a stage, a download) was entered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._place: object = None
        self._from = (0.0, 0)

    def at(self, place: object, count: int) -> float | None:
        """A second's worth of it; None while there is nothing to tell."""
        now = self._clock()
        if place != self._place:
            self._place, self._from = place, (now, count)
        began, first = self._from
        return (count - first) / (now - began) if now - began >= SETTLED and count > first else None


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def frame(self, frame: dict[str, Any]) -> None: ...

    def bytes(self, done: int, total: int) -> None: ...


class Lines(Silence):
    """A line for each stage and each `STEP` per cent."""

    def __init__(self) -> None:
        self._told: tuple[object, ...] = ()
        self._rate = Rate()

    def frame(self, frame: dict[str, Any]) -> None:
        data = frame["data"]
        if frame["event"] == "export:progress":
            percent, rest = int(data.get("progress") or 0), pace(data, self._rate)
            self._tell((data.get("stage"), percent // STEP), f"{percent:3d} % {doing(data)}", rest)

    def bytes(self, done: int, total: int) -> None:
        percent = 100 * done // max(1, total)
        self._tell(("download", percent // STEP), f"{percent:3d} % downloading", fetching(done, total, self._rate))

    def _tell(self, place: tuple[object, ...], text: str, rest: str) -> None:
        if place != self._told:
            self._told = place
            tell(f"{text.rstrip()}, {rest}" if rest else text.rstrip())


class Bar:
    """A progress bar, and below it another one while the archive is fetched."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._export: TaskID | None = None
        self._download: TaskID | None = None
        self._rate = Rate()

    def __enter__(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        # One line whatever is described, and a bar that does not change its length with it. No markup: names of images.
        column = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        text = TextColumn("{task.description}", markup=False, table_column=column)
        bar = BarColumn(bar_width=BAR)
        self._progress = Progress(bar, TaskProgressColumn(), text, console=Console(stderr=True), expand=True)
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
            self._export = self._update(self._export, "exported", "", 100, 100)
        elif data.get("progress") is not None:
            self._export = self._update(self._export, doing(data), pace(data, self._rate), data["progress"], 100)

    def bytes(self, done: int, total: int) -> None:
        rest = fetching(done, total, self._rate)
        self._download = self._update(self._download, "downloading", rest, done, total)

    def _update(self, task: TaskID | None, text: str, rest: str, done: float, total: float) -> TaskID | None:
        if self._progress is None:
            return None
        told = printable(f"{rest}  {text}".strip())
        if task is None:
            task = self._progress.add_task(told, total=total)
        self._progress.update(task, completed=done, description=told)
        return task


def doing(data: dict[str, Any]) -> str:
    """What an export does at the moment, in a few words."""
    if data.get("queuePosition"):
        return f"waiting, number {data['queuePosition']} in the queue"
    count = data.get("stageProgress") or {}
    if not data.get("stage"):
        return str(data.get("message") or "")
    place = f" {count['current']}/{count['total']}" if count.get("total") else ""
    return f"{data['stage']}{place} {count.get('currentItem') or ''}".rstrip()


def pace(data: dict[str, Any], rate: Rate) -> str:
    """How fast an export goes on, and how long it still takes, as far as either is known."""
    count = (data.get("stageProgress") or {}).get("current")
    speed = None if count is None else rate.at(data.get("stage"), count)
    remaining = data.get("estimatedTimeRemaining")
    what = "images" if data.get("stage") in PER_IMAGE else "steps"
    return _joined(None if speed is None else f"{speed:.3g} {what}/s", remaining)


def fetching(done: int, total: int, rate: Rate) -> str:
    """The same of a download."""
    speed = rate.at("download", done)
    return "" if speed is None else _joined(f"{size(round(speed))}/s", (total - done) / speed)


def _joined(speed: str | None, remaining: float | None) -> str:
    parts = [speed, None if remaining is None else f"{span(remaining)} left"]
    return ", ".join(part for part in parts if part)
