"""Small pieces of text to chunks, and what a format had to leave out to warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from exportd.core.dataset import Image
from exportd.formats.member import Tick, Warn

T = TypeVar("T")

CHUNK_BYTES = 64 << 10
"""Long enough that what is done per chunk does not count, short enough to be no memory."""


def chunked(parts: Iterable[bytes | Tick | Warn]) -> Iterator[bytes | Tick | Warn]:
    """The bytes joined to chunks of at least `CHUNK_BYTES`, the last one shorter; other values keep their order.

    An empty part is passed on at once: it is a place to look for a cancel.
    """
    pending: list[bytes] = []
    size = 0
    for part in parts:
        if not isinstance(part, bytes) or not part:
            yield part
            continue
        pending.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def size_of(image: Image) -> tuple[int, int] | None:
    """Width and height in pixels, where both are known."""
    return (image.width, image.height) if image.width and image.height else None


class Losses:
    """Counts what one format cannot hold while it is written, and tells it at the end."""

    def __init__(self, format_name: str) -> None:
        self._format = format_name
        self._sizeless: list[str] = []
        self.lines = 0
        """Open lines."""
        self.outside = 0
        """Objects of which nothing is inside of the image."""
        self.parted = 0
        """Objects in several pieces of which only the largest is there."""
        self.covered = 0
        """Objects of which their holes leave nothing."""

    def sizeless(self, image: Image) -> None:
        """The image is left out because its size is unknown."""
        self._sizeless.append(image.name)

    def warnings(self) -> Iterator[Warn]:
        """A sentence for each kind of loss that there was."""
        if self._sizeless:
            what = "image of unknown size is", "images of unknown size are", "left out: {names}"
            yield self._warn(len(self._sizeless), *what, tuple(self._sizeless))
        if self.lines:
            yield self._warn(self.lines, "polyline is", "polylines are", "left out: the format has no open lines")
        if self.outside:
            yield self._warn(self.outside, "polygon is", "polygons are", "left out: nothing is left inside the image")
        if self.parted:
            yield self._warn(self.parted, "polygon is", "polygons are", "cut to the largest of several pieces")
        if self.covered:
            yield self._warn(self.covered, "polygon is", "polygons are", "left out: its holes cover all of it")

    def _warn(self, count: int, one: str, several: str, what: str, names: tuple[str, ...] = ()) -> Warn:
        return Warn(f"{self._format}: 1 {one} {what}.", f"{self._format}: {{count}} {several} {what}.", count, names)
