"""Runs exportd with a sampler beside it: `sampling.py TARGET serve ...`. At the end TARGET tells, as JSON, how many seconds
of CPU time went where.

Each sample gives the CPU time that a thread has used since the last one to the line that it is at, by the thread's own
clock (`ground` explains the number): a thread that waits adds nothing, and one that works without the interpreter's lock
counts for the line that called. No tool has to be let into the process from outside, and it works on every Python.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
OURS = f"{ROOT / 'exportd'}/"
INTERVAL = 0.005
"""Seconds. The sampler itself takes some percent of a core and is left out."""


class Sampler(threading.Thread):
    """Looks until it is ended; `spent` has seconds by place."""

    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self._clocks: dict[int, float] = {}
        self._ended = threading.Event()
        self.spent: dict[str, float] = {}

    def run(self) -> None:
        while not self._ended.wait(INTERVAL):
            frames = sys._current_frames()
            for thread in threading.enumerate():
                if thread is not self and thread.ident in frames and thread.native_id is not None:
                    self._look(thread.native_id, frames[thread.ident])

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _look(self, thread: int, frame: FrameType) -> None:
        try:
            now = time.clock_gettime((~thread << 3) | 6)
        except OSError:  # it has ended
            self._clocks.pop(thread, None)
            return
        used = now - self._clocks.get(thread, now)
        self._clocks[thread] = now
        if used > 0:
            place = _place(frame)
            self.spent[place] = self.spent.get(place, 0.0) + used


def _place(frame: FrameType) -> str:
    """Our line, and the function of a library in which it was if it has called one that is not written in C."""
    ours: FrameType | None = frame
    while ours is not None and not ours.f_code.co_filename.startswith(OURS):
        ours = ours.f_back
    if ours is frame:
        return f"{_function(frame)} line {frame.f_lineno}"
    return _function(frame) if ours is None else f"{_function(ours)} line {ours.f_lineno} -> {_function(frame)}"


def _function(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name} {frame.f_code.co_qualname}"


def slowest(seen: Iterable[Path], most: int) -> list[str]:
    """The places in which daemons have spent the most CPU time, by what their samplers have left."""
    spent: dict[str, float] = {}
    for path in seen:
        with suppress(OSError, ValueError):
            for place, seconds in json.loads(path.read_text()).items():
                spent[place] = spent.get(place, 0.0) + seconds
    whole = sum(spent.values()) or 1.0
    ranked = sorted(spent.items(), key=lambda item: -item[1])[:most]
    return [f"{seconds / whole:6.1%} {seconds:8.2f} s  {place}" for place, seconds in ranked]


def main() -> None:
    from exportd.cli import main as exportd

    target = Path(sys.argv.pop(1))
    sampler = Sampler()
    sampler.start()
    try:
        exportd()
    finally:
        sampler.end()
        target.write_text(json.dumps(sampler.spent))


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    main()
