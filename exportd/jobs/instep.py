"""Several exporters on one walk over the images, so that each image is decoded once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from exportd.core.dataset import Annotation, Dataset, Image, Notes, Pixels, Project
from exportd.core.options import ExportOptions
from exportd.formats.member import Tick
from exportd.jobs.pipeline import Work, closing_work

Walk = Callable[[Dataset, ExportOptions], Work]
"""An exporter that looks at each image by itself and gives a `Tick` when it is done with it."""


def in_step(dataset: Dataset, options: ExportOptions, walks: Sequence[Walk]) -> Work:
    """What all of them give, image by image, in their order; with one `Tick` for each image, after the last of them."""
    once = _Once(dataset)
    with ExitStack() as stack:
        left = [stack.enter_context(closing_work(walk(once, options))) for walk in walks]
        while left:
            done: Tick | None = None
            for work in tuple(left):
                for value in work:
                    if isinstance(value, Tick):
                        done = value
                        break
                    yield value
                else:
                    left.remove(work)
            once.forget()
            if done is not None:
                yield done


class _Once:
    """A dataset that keeps the pixels of the image that was asked for last, until they are forgotten."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._image: Image | None = None
        self._pixels: Pixels | None = None

    @property
    def project(self) -> Project:
        return self._dataset.project

    @property
    def images(self) -> tuple[Image, ...]:
        return self._dataset.images

    @property
    def notes(self) -> Notes:
        return self._dataset.notes

    def place(self, name: str) -> int:
        return self._dataset.place(name)

    def annotated(self) -> Iterator[tuple[Image, Annotation]]:
        return self._dataset.annotated()

    def pixels(self, image: Image) -> Pixels:
        if self._pixels is None or self._image is not image:
            self.forget()  # before the next: two images would be twice the memory
            self._pixels, self._image = self._dataset.pixels(image), image
        return self._pixels

    def forget(self) -> None:
        self._image = self._pixels = None
