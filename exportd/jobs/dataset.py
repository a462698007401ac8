"""The dataset of one export: the project's images as they are now, under the names that they get in the archive."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from exportd.core.dataset import Annotation, Dataset, Image, Notes, Pixels, Project, Repair, Skipped
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.errors import SourceError, UnreadableImage
from exportd.formats.naming import archive_names
from exportd.store.annotations import AnnotationFile
from exportd.store.catalogue import Catalogue, ImageRow, SegmentationRow
from exportd.store.pixels import decode
from exportd.store.sources import Uploads

T = TypeVar("T")

TURN_PIXELS, TURN_IMAGES = 1 << 20, 50
"""Of a piece of work, at most, as far as one image has no more."""


@dataclass(frozen=True, slots=True)
class _Usable:
    row: ImageRow
    width: int | None
    height: int | None
    size: int | None
    media_type: str


class ProjectDataset:
    """A `Dataset` over catalogue and uploads. Blocking: walk it in a worker thread.

    The annotations can be walked once `read` has come to its end; warnings about polygons are known from then on too.
    """

    def __init__(
        self,
        project: Project,
        images: tuple[Image, ...],
        paths: dict[str, str],
        notes: Notes,
        catalogue: Catalogue,
        uploads: Uploads,
        check: Callable[[], None],
    ) -> None:
        self.project = project
        self.images = images
        self._paths = paths
        self._notes = notes
        self._catalogue, self._uploads, self._check = catalogue, uploads, check
        self._warned: dict[str, tuple[str, ...]] = {}
        self._annotations: AnnotationFile | None = None
        self._places: dict[str, int] = {}

    @property
    def notes(self) -> Notes:
        """What is known by now; about polygons, once `read` has come to its end."""
        repaired = tuple(
            Repair(image.id, image.original_name, self._warned[image.id])
            for image in self.images
            if image.id in self._warned
        )
        about_polygons = tuple(f"{repair.original_name}: {said}" for repair in repaired for said in repair.sentences)
        return replace(self._notes, warnings=self._notes.warnings + about_polygons, repaired=repaired)

    def path(self, image: Image) -> str:
        """Where the original is, relative to the uploads directory."""
        return self._paths[image.id]

    def place(self, name: str) -> int:
        """See `Dataset`."""
        if not self._places:  # two threads may find it so: each makes the same
            self._places = {image.name: place for place, image in enumerate(self.images)}
        return self._places[name]

    def shared(self, parts: int, turn: int) -> list[Dataset]:
        """The images dealt to so many datasets, `turn` at a time; there are not more of these than have any."""
        step = parts * turn
        dealt = [
            tuple(i for begin in range(part * turn, len(self.images), step) for i in self._turn(begin, turn))
            for part in range(parts)
        ]
        return [_Share(self, which) for which in dealt if which]

    def _turn(self, begin: int, turn: int) -> range:
        return range(begin, min(begin + turn, len(self.images)))

    def pixels(self, image: Image) -> Pixels:
        """See `Dataset`. Listens to the job's cancel while it decodes."""
        fd = self._uploads.open(self.path(image))
        try:
            return decode(fd, self._check)
        finally:
            os.close(fd)

    def read(self, file: AnnotationFile) -> Iterator[Image]:
        """Parses the polygons of all images into the file, which has to stay open as long as they are walked; each image
        as it is done. The catalogue is not asked any more when this has come to its end."""
        rows = self._catalogue.each_segmentation([image.id for image in self.images])
        for image, row in zip(self.images, rows, strict=True):
            annotation = self._parsed(image, row)
            if annotation.warnings:
                self._warned[image.id] = annotation.warnings
            file.append(annotation, self._check)
            yield image
        self._annotations = file

    def annotated(self) -> Iterator[tuple[Image, Annotation]]:
        """See `Dataset`. Listens to the job's cancel."""
        return self.annotated_at(range(len(self.images)))

    def annotated_at(self, places: Iterable[int]) -> Iterator[tuple[Image, Annotation]]:
        """The same for images at these places."""
        if self._annotations is None:
            raise RuntimeError("the annotations were not read")
        for place in places:
            yield self.images[place], self._annotations.read(place, self._check)

    def _parsed(self, image: Image, row: SegmentationRow | None) -> Annotation:
        if row is None:
            return Annotation()
        return parse_annotation(
            row.polygons,
            image.width,
            image.height,
            model=row.model,
            threshold=row.threshold,
            confidence=row.confidence,
            check=self._check,
        )


class _Share:
    """Some of the images, for exporters that look at each by itself."""

    def __init__(self, whole: ProjectDataset, places: tuple[int, ...]) -> None:
        self.project, self.images = whole.project, tuple(whole.images[i] for i in places)
        self.pixels, self.place = whole.pixels, whole.place
        self._whole, self._places = whole, places

    @property
    def notes(self) -> Notes:
        return self._whole.notes

    def annotated(self) -> Iterator[tuple[Image, Annotation]]:
        return self._whole.annotated_at(self._places)


def survey(
    catalogue: Catalogue,
    uploads: Uploads,
    project_id: str,
    options: ExportOptions,
    unusable: dict[str, str],
    check: Callable[[], None],
) -> ProjectDataset:
    """Looks at every image that is asked for and gives those that can be exported. Blocking; `check` is called per image.

    The catalogue should be a snapshot: it is asked again for the polygons.
    `unusable` names images that failed in an earlier attempt, each with its reason. Raises `SourceError` when nothing is
    left.
    """
    project = catalogue.project(project_id)
    if project is None:
        raise SourceError("The project no longer exists.")
    rows = catalogue.images(project_id, options.selected_image_ids, check)
    if not rows:
        raise SourceError("The project has no images; add some and export again.")
    usable: list[_Usable] = []
    skipped: list[Skipped] = []
    warnings: list[str] = []
    for row in rows:
        check()
        try:
            if row.id in unusable:
                raise UnreadableImage(unusable[row.id])
            found, warning = _look(uploads, row, options)
        except UnreadableImage as error:
            skipped.append(Skipped(row.id, row.name, error.reason))
            warnings.append(f"{row.name} was left out: {error.reason}")
            continue
        usable.append(found)
        if warning:
            warnings.append(f"{row.name}: {warning}")
    if not usable:
        raise SourceError(
            f"None of the {len(rows)} images can be exported; the first, {skipped[0].original_name}: {skipped[0].reason}"
        )
    images = _images(usable, check)
    newest = max((t for row in rows for t in (row.updated_at, row.created_at) if t is not None), default=None)
    return ProjectDataset(
        project,
        images,
        {found.row.id: found.row.original_path for found in usable},
        Notes(tuple(skipped), tuple(warnings), newest),
        catalogue,
        uploads,
        check,
    )


def _look(uploads: Uploads, row: ImageRow, options: ExportOptions) -> tuple[_Usable, str | None]:
    """The image as it can be exported. Its file matters when originals are asked for, or where only it knows the size."""
    unknown = not (row.width and row.height)
    if not (options.include_original_images or options.include_visualizations or unknown):
        return _Usable(row, row.width, row.height, row.size, row.media_type), None
    try:
        probe = uploads.probe(row.original_path, dimensions=unknown)
    except UnreadableImage:
        if options.include_original_images or options.include_visualizations:
            raise
        return _Usable(row, None, None, None, row.media_type), "its size is unknown and the file cannot be read"
    width, height = (probe.width, probe.height) if unknown else (row.width, row.height)
    return _Usable(row, width, height, probe.size, probe.media_type or row.media_type), probe.warning


def _images(usable: Sequence[_Usable], check: Callable[[], None]) -> tuple[Image, ...]:
    names = archive_names(_looking((found.row.name for found in usable), check))
    return tuple(_image(found, name) for found, name in _looking(zip(usable, names, strict=True), check))


def _image(found: _Usable, name: str) -> Image:
    return Image(
        id=found.row.id,
        name=found.row.name if name == found.row.name else name,  # one text for both, as for most images
        original_name=found.row.name,
        width=found.width,
        height=found.height,
        media_type=sys.intern(found.media_type),
        size=found.size,
        display_order=found.row.display_order,
        parent_video_id=found.row.parent_video_id,
        frame_index=found.row.frame_index,
        created_at=found.row.created_at,
        updated_at=found.row.updated_at,
    )


def _looking(values: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    """With a look before each: what is quick for one image is not for a hundred thousand."""
    for value in values:
        check()
        yield value


def turn_of(images: Collection[Image]) -> int:
    """Images that are one piece of work for a thread: one where each takes long, more where they are small."""
    pixels = sum((image.width or 0) * (image.height or 0) for image in images)
    return max(1, min(TURN_IMAGES, TURN_PIXELS * len(images) // max(1, pixels)))


def sizes(images: Collection[Image]) -> int:
    """Bytes of the originals together."""
    return sum(image.size or 0 for image in images)
