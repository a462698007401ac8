"""A member of the archive, and what an exporter is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from exportd.core.dataset import Dataset
from exportd.core.options import ExportOptions


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: `path` with `/`, UTF-8; `chunks` is consumed once, and closed if it is a generator.

    `done` members of work: how many images the consumer may count as finished once this member, or a chunk of it, is
    written; exporters that write one member for all images yield `Tick` values between chunks instead.
    """

    path: str
    chunks: Iterable[bytes | Tick]
    media_type: str = "application/octet-stream"
    compress: bool = True
    """False for media that are compressed already: they are stored."""
    source_image_id: str | None = None
    original_name: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Among the chunks or between members: one more image is done. Carries no bytes."""

    item: str


Exporter = Callable[[Dataset, ExportOptions], Iterator[Member | Tick]]
"""A generator of members. It counts its images with a `Tick` each, so that progress is honest, and a cancel can fall
between any two of its values: whoever consumes it closes it."""
