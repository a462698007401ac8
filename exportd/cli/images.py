"""Which images are meant: by id, by name, or by a pattern as shells have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from exportd.cli.failures import USAGE, Failure

if TYPE_CHECKING:
    from exportd.cli.backends import Backend

Known = tuple[str, str]
"""Id and name."""

_WILD = frozenset("*?[")


async def choose(backend: Backend) -> None:
    """Puts ids in the place of the names in its order. Raises `Failure` for what fits no image."""
    wanted = backend.order.options.get("selectedImageIds")
    if wanted:
        known: list[Known] = []
        while rows := await backend.images(len(known)):
            known += rows
        backend.order = backend.order.with_images(pick(wanted, known))


def pick(wanted: Iterable[str], known: Sequence[Known]) -> list[str]:
    """The ids, in the order in which they are asked for, each once.

    What is neither id, name nor pattern is left as it is: a video has an id, too, and the service tells of all others.
    """
    ids: dict[str, None] = {}
    names = {image for image, _ in known}
    for text in wanted:
        found = [text] if text in names else [image for image, name in known if _fits(name, text)]
        if not found and _WILD & set(text):
            raise Failure(f"No image of the project has a name like {text!r}; the page shows them all.", USAGE)
        ids |= dict.fromkeys(found or [text])
    return list(ids)


def _fits(name: str, text: str) -> bool:
    return name == text or fnmatchcase(name, text)
