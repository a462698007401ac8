"""A member of the archive, and what an exporter is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from exportd.core.dataset import Dataset
from exportd.core.options import ExportOptions

MAX_NAMED = 10
"""Images that a warning names; the others are counted."""


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

    Carries no bytes. One for each kind of loss, with its count, however many images it concerns.
    """

    one: str
    """The sentence for one thing of its kind, or for what is not counted."""
    several: str = ""
    """For more. `{count}` stands for how many they are, and in both `{names}` for what they are called."""
    count: int = 1
    names: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        said = (self.one if self.count == 1 else self.several).replace("{count}", str(self.count))
        return said.replace("{names}", _listed(self.names))


def told(warnings: Iterable[Warn], place: Callable[[str], int]) -> list[str]:
    """The sentences in order, those of one kind together as one. `place` is the place of a name in the archive."""
    kinds: dict[tuple[str, str], Warn] = {}
    for warning in warnings:
        kind = warning.one, warning.several
        if (before := kinds.get(kind)) is None:
            kinds[kind] = warning
        elif warning.several:
            names = tuple(sorted(before.names + warning.names, key=place))
            kinds[kind] = replace(before, count=before.count + warning.count, names=names)
    return [warning.sentence for warning in kinds.values()]


def _listed(names: Sequence[str]) -> str:
    """The first `MAX_NAMED`, and how many there are besides."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


Exporter = Callable[[Dataset, ExportOptions], Iterator[Member | Tick | Warn]]
"""A generator of members. It counts its images with a `Tick` each (on its last walk over them, if it needs several), so
that progress is honest, and a cancel can fall between any two of its values: whoever consumes it closes it."""
