"""Each point runs in a process of its own, forked from one that has loaded everything and has no threads: it may die, and
what was changed in it is gone with it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from exportd.jobs.runner import leaves

DIED = 86
"""Exit code of a process that has died where it should."""

BROKEN = 87
"""Exit code of a process in which something was raised that nobody expects."""

PATIENCE = 60
"""Seconds after which a process is taken to hang and killed."""

Tell = Callable[..., None]
"""Tells the parent at once, whatever becomes of the process afterwards: a word, and values that JSON can hold."""


class Told(NamedTuple):
    """What a process has told before its end, in order: lists that begin with a word."""

    code: int
    lines: list[list[Any]]

    def of(self, word: str) -> list[list[Any]]:
        return [line[1:] for line in self.lines if line[0] == word]


def run(work: Callable[[Tell], object]) -> Told:
    """Does the work in a child process, to whatever end."""
    pid, read = begin(work)
    return end(pid, read)


def begin(work: Callable[[Tell], object]) -> tuple[int, int]:
    """The process, and a descriptor for what it tells; `end` takes both."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        os.close(write)
        return pid, read
    os.close(read)
    code = BROKEN
    try:
        code = _child(work, write)
    finally:  # whatever it was, the parent's work is not this process's
        os._exit(code)


def end(pid: int, read: int) -> Told:
    """Waits for the end of a process; what it has told."""
    with open(read, "rb") as lines:
        told = [json.loads(line) for line in lines if line.endswith(b"\n")]
    _, status = os.waitpid(pid, 0)
    return Told(os.waitstatus_to_exitcode(status), told)


def _child(work: Callable[[Tell], object], write: int) -> int:
    signal.alarm(PATIENCE)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    really_write = os.write  # not the one that counts

    def tell(*line: object) -> None:
        really_write(write, json.dumps(line).encode() + b"\n")

    try:
        work(tell)
    except Exception as error:  # noqa: BLE001 - the parent has to know
        for leaf in leaves(error):
            tell("raised", "".join(traceback.format_exception(leaf)[-3:]))
        return BROKEN
    return 0


@contextmanager
def copy_of(template: Path) -> Iterator[Path]:
    """A copy of a data directory, for one point."""
    with tempfile.TemporaryDirectory(dir=template.parent, prefix="point-") as folder:
        copy = Path(folder) / "data"
        shutil.copytree(template, copy, symlinks=True)
        yield copy
