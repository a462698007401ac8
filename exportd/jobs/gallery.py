"""The images of a project to choose from: pages of the list, and a small picture of each.

Knows nothing of users; the service asks who may see a project. Nothing is kept: a browser keeps the pictures, and asks
with their tag whether they are still what the file shows.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import trio

from exportd.errors import NotFound, UnreadableImage
from exportd.formats.thumbnails import thumbnail
from exportd.jobs.pace import Pace
from exportd.store.catalogue import Catalogue, ImageRow
from exportd.store.pixels import decode
from exportd.store.sources import Uploads

MAX_PIXELS = 1 << 25
"""Of an image that gets a small picture: 5,792 x 5,792. Larger ones are left to exports, which have their turns."""

SECONDS = 5.0
"""That a picture may take."""

THREADS = 2
"""That make pictures at once, so that a page full of them does not keep the event loop waiting."""

FORM = b"1"
"""Part of every tag; another one when pictures are made in another way."""

Known = Callable[[str], bool]
"""Whether the caller has the picture of this tag."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page of a list: `limit` images from `offset` on, of those that have `search` in their names, whatever the case."""

    offset: int
    limit: int
    search: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some images of a project in the order of the archive, and how many there are in all."""

    total: int
    rows: tuple[ImageRow, ...]

    def as_wire(self) -> dict[str, object]:
        return {"total": self.total, "images": [_wire(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture under its tag; no content when the caller has it."""

    tag: str
    content: bytes | None


class Gallery:
    """Lists and pictures of all projects, made in threads of its own."""

    def __init__(self, catalogue: Catalogue, uploads: Uploads, pace: Pace) -> None:
        self._catalogue, self._uploads, self._look = catalogue, uploads, pace.look
        self._limiter = trio.CapacityLimiter(THREADS)

    async def page(self, project_id: str, wanted: Wanted) -> Page:
        """A page of the project's images."""
        return await trio.to_thread.run_sync(self._page, project_id, wanted, limiter=self._limiter)

    async def picture(self, project_id: str, image_id: str, known: Known) -> Picture:
        """The small picture of one of the project's images. Raises `NotFound` where there is none, or none can be made.

        A cancel stops the thread at its next look.
        """
        return await trio.to_thread.run_sync(self._picture, project_id, image_id, known, limiter=self._limiter)

    def _page(self, project_id: str, wanted: Wanted) -> Page:
        search = wanted.search.casefold()
        rows = [row for row in self._catalogue.images(project_id, None) if search in row.name.casefold()]
        return Page(len(rows), tuple(rows[wanted.offset : wanted.offset + wanted.limit]))

    def _picture(self, project_id: str, image_id: str, known: Known) -> Picture:
        found = self._catalogue.images(project_id, [image_id])
        row = next((row for row in found if row.id == image_id), None)  # a video stands for its frames there
        if row is None:
            raise NotFound("image")
        try:
            return self._made(row, known)
        except UnreadableImage:
            raise NotFound("picture of this image") from None

    def _made(self, row: ImageRow, known: Known) -> Picture:
        fd = self._uploads.open(row.original_path)
        try:
            tag = _tag(row.id, os.fstat(fd))
            if known(tag):
                return Picture(tag, None)
            probe = self._uploads.probe(row.original_path, dimensions=True)
            if not probe.width or not probe.height or probe.width * probe.height > MAX_PIXELS:
                raise UnreadableImage("it is too large for a small picture")
            content = thumbnail(decode(fd, self._until(time.monotonic() + SECONDS)))
        finally:
            os.close(fd)
        if content is None:
            raise UnreadableImage("it shows nothing")
        return Picture(tag, content)

    def _until(self, end: float) -> Callable[[], None]:
        """A look that also ends what takes too long."""

        def look() -> None:
            self._look()
            if time.monotonic() > end:
                raise UnreadableImage("it takes too long to decode")

        return look


def _tag(image_id: str, stat: os.stat_result) -> str:
    """Another one whenever the file is another one."""
    seen = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino} {image_id}".encode(errors="surrogatepass")
    return hashlib.sha256(FORM + seen).hexdigest()[:32]


def _wire(row: ImageRow) -> dict[str, object]:
    return {"id": row.id, "name": row.name, "width": row.width, "height": row.height, "size": row.size}
