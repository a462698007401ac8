"""Where an archive goes: a file, or standard output."""

from __future__ import annotations

import hashlib
import os
import select
import stat
import sys
from pathlib import Path

import trio

from exportd.cli.failures import USAGE, Failure
from exportd.client import CHUNK, Part, Sink
from exportd.errors import ChecksumMismatch, Unreachable

STDOUT = Path("-")
"""Stands for standard output."""

LOOK = 0.1
"""Seconds after which a pipe that takes nothing is left for a look at whether the download was given up."""


def check_stdout() -> None:
    """Raises `Failure` where an archive would end on somebody's screen."""
    if sys.stdout.isatty():
        raise Failure("The archive would go to the terminal: pipe it on (`-o - | ...`), or name a file with -o.", USAGE)


def opened(target: Path, sha256: str) -> Sink:
    """What is written to. Raises OSError; call it in a worker thread."""
    return Pipe(sys.stdout.fileno(), sha256) if target == STDOUT else Part(target, sha256)


class Pipe:
    """A descriptor that takes an archive as it comes: what it has taken cannot be taken back. Blocking."""

    def __init__(self, fd: int, sha256: str) -> None:
        self.sha256 = sha256
        self.size = 0
        self._fd = fd
        self._hash = hashlib.sha256()
        # A pipe that can be written to has room for so much: more might block, and nothing ends a thread that does.
        self._piece = CHUNK if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF

    def rewind(self) -> None:
        """Nothing to do at the beginning. Raises `Unreachable` later: a second beginning would make a mess of it."""
        if self.size:
            raise Unreachable("The connection broke and the archive cannot be taken up where it did; fetch it again.")

    def write(self, chunk: bytes) -> None:
        """In a thread of trio: raises `trio.Cancelled`, and BrokenPipeError when nobody reads any more."""
        view = memoryview(chunk)
        while view:
            trio.from_thread.check_cancelled()
            if select.select([], [self._fd], [], LOOK)[1]:
                view = view[os.write(self._fd, view[: self._piece]) :]
        self._hash.update(chunk)
        self.size += len(chunk)

    def finish(self) -> None:
        """Raises `ChecksumMismatch` when it was not what was announced."""
        if self._hash.hexdigest() != self.sha256:
            raise ChecksumMismatch(
                f"What arrived is not the archive that the daemon announced (SHA-256 {self.sha256[:12]}...): do not use "
                "what went to standard output. Fetch it again."
            )

    def close(self) -> None:
        """It is not ours to close."""
