"""What exporters read: a project, its images, their polygons. Frozen values and one lazy sequence; no I/O here.

Coordinates are pixels, origin at the top left corner of the top left pixel, x to the right, y down (pixel (0, 0) covers
0..1 in both).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exportd.errors import UnreadableImage

Pixels = NDArray[np.generic]
"""Of the stored pixel grid, before any orientation: shape (height, width) for grey, (height, width, channels) for colour
with channels R, G, B and perhaps A, or grey and A. Boolean, integers or floats, as stored; palettes are resolved."""

Points = NDArray[np.float64]
"""Shape (n, 2), finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """One closed ring: at least three finite points, no closing point. `holes` are the internals that §6 gives it."""

    id: str
    number: int
    """1, 2, ... in the image's order of external polygons: what overlay, table and formats call it."""
    points: Points
    holes: tuple[Points, ...] = ()
    part_class: str | None = None
    instance_id: str | None = None
    confidence: float | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Polyline:
    """An open line: at least two finite points."""

    id: str
    points: Points
    part_class: str | None = None
    instance_id: str | None = None
    track_id: str | None = None
    name: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """The segmentation of one image, cleaned: what could not be used stands in `warnings`, a sentence each."""

    polygons: tuple[Polygon, ...] = ()
    polylines: tuple[Polyline, ...] = ()
    warnings: tuple[str, ...] = ()
    segmented: bool = False
    """False: never segmented; True with no polygons: segmented, nothing found."""
    model: str | None = None
    threshold: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the export, under the name that it has in the archive."""

    id: str
    name: str
    """Unique by its stem, whatever the case, and safe on every file system; `images/<name>` in the archive."""
    original_name: str
    width: int | None
    height: int | None
    media_type: str
    size: int | None
    """Bytes of the original; None where it cannot be read."""
    display_order: int | None = None
    parent_video_id: str | None = None
    frame_index: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def stem(self) -> str:
        """What labels and overlays of this image are called."""
        return self.name.rpartition(".")[0] or self.name


@dataclass(frozen=True, slots=True)
class Project:
    """The project as its own rows tell it."""

    id: str
    title: str
    type: str
    owner_id: str
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that is not in the archive, and why."""

    image_id: str
    original_name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Repair:
    """An image whose polygons were not all usable as they stand, and what was done about it, a sentence each."""

    image_id: str
    original_name: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notes:
    """What the export report tells besides the members."""

    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    repaired: tuple[Repair, ...] = field(default=(), kw_only=True)
    """In the order of the archive; each sentence stands among `warnings` too, behind the image's name."""
    newest_change: datetime | None = None


class Dataset(Protocol):
    """The images of one export with their annotations; can be walked as often as an exporter likes."""

    @property
    def project(self) -> Project: ...

    @property
    def images(self) -> tuple[Image, ...]:
        """In the order of the archive."""
        ...

    @property
    def notes(self) -> Notes: ...

    def place(self, name: str) -> int:
        """Of the image with this name in the archive, from 0; also where these are only some of its images."""
        ...

    def annotated(self) -> Iterator[tuple[Image, Annotation]]:
        """Each image with its annotation, in order, read in batches: memory does not grow with the project."""
        ...

    def pixels(self, image: Image) -> Pixels:
        """The decoded image; of several pages the first. Not kept: ask once. Raises `UnreadableImage`."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryDataset:
    """A dataset that is held in memory, for small projects and tests."""

    project: Project
    images: tuple[Image, ...]
    annotations: dict[str, Annotation] = field(default_factory=dict)
    notes: Notes = Notes()
    pictures: dict[str, Pixels] = field(default_factory=dict)
    """Pixels by image id."""

    def place(self, name: str) -> int:
        return next(place for place, image in enumerate(self.images) if image.name == name)

    def annotated(self) -> Iterator[tuple[Image, Annotation]]:
        for image in self.images:
            yield image, self.annotations.get(image.id, Annotation())

    def pixels(self, image: Image) -> Pixels:
        try:
            return self.pictures[image.id]
        except KeyError:
            raise UnreadableImage("the file is missing", missing=True) from None
