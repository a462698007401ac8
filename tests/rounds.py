"""Rounds of the event loop, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Rounds(trio.abc.Instrument):
    """Which round it is."""

    def __init__(self) -> None:
        self.now = 0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self.now += 1


@contextmanager
def counting() -> Iterator[Rounds]:
    """Counts them within the block."""
    rounds = Rounds()
    trio.lowlevel.add_instrument(rounds)
    try:
        yield rounds
    finally:
        trio.lowlevel.remove_instrument(rounds)
