"""A member of the archive, and what an exporter is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from exportd.core.dataset import Dataset
from exportd.core.options import ExportOptions


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: `path` with `/`, UTF-8; `chunks` is consumed once, and closed if it has a `close`.

    `Tick` and `Warn` may stand among the chunks: an exporter that writes one member for all images has no other place. An
    empty chunk is a place to look for a cancel, in the midst of work that takes longer than some 50 ms.
    """

    path: str
    chunks: Iterable[bytes | Tick | Warn]
    media_type: str = "application/octet-stream"
    compress: bool = True
    """False for media that are compressed already: they are stored."""
    source_image_id: str | None = None
    original_name: str | None = None
    size: int | None = None
    """Bytes of the whole member where they are known before; only decides the form of large members."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Among the chunks or between members: one more image is done. Carries no bytes."""

    item: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Among the chunks or between members: a sentence for the job about what this format leaves out or cannot hold.

    Carries no bytes. One sentence for each kind of loss, with its count, however many images it concerns.
    """

    sentence: str


Exporter = Callable[[Dataset, ExportOptions], Iterator[Member | Tick | Warn]]
"""A generator of members. It counts its images with a `Tick` each (on its last walk over them, if it needs several), so
that progress is honest, and a cancel can fall between any two of its values: whoever consumes it closes it."""
