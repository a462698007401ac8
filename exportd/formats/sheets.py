"""What a sheet of metrics is made of: columns with the power of the scale that they take, and rows for one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from exportd.core.dataset import Annotation, Dataset, Image, Pixels, Polygon
from exportd.core.geometry import Floats
from exportd.core.options import ExportOptions
from exportd.errors import UnreadableImage
from exportd.formats.member import Warn
from exportd.formats.streaming import size_of
from exportd.formats.tabular import Column, Kind, Table, Values


class Power(IntEnum):
    """Of the scale in a value: what turns pixels into µm."""

    NONE = 0
    LENGTH = 1
    AREA = 2


def column(name: str, power: Power, meaning: str, scale: float | None, kind: Kind = Kind.NUMBER) -> Column:
    """With the unit in the header; `scale` is µm per pixel, None where values stay pixels."""
    unit = "px" if scale is None else "µm"
    units = ("", f" ({unit})", f" ({unit}²)")
    return Column(name + units[power], kind, meaning)


def scaled(values: Floats, power: Power, scale: float | None) -> Floats:
    """The values in the unit of their column."""
    return values if scale is None or power is Power.NONE else values * scale**power


@dataclass(slots=True)
class Omissions:
    """Counts what the tables leave out, over the whole project, and tells it at the end."""

    incomplete: int = 0
    """Objects flagged `complete: false`."""
    cut: int = 0
    """Capsules that touch the edge of their image."""
    lines: int = 0
    """Polylines in a project that measures polygons."""
    polygons: int = 0
    """Polygons in a project that measures polylines."""
    anonymous: int = 0
    """Polylines of no instance in a project that measures instances."""
    partless: int = 0
    """Polylines of an instance that are no known part of it."""
    unreadable: list[str] = field(default_factory=list)
    """Images of which no intensities can be told, as their pixels cannot be read."""
    resized: list[str] = field(default_factory=list)
    """The same, as their files have another size than the polygons were drawn for."""

    def warnings(self) -> Iterator[Warn]:
        """A sentence for each kind of omission that there was."""
        counted = (
            (self.incomplete, "object is", "objects are", "left out: flagged as incomplete"),
            (self.cut, "capsule is", "capsules are", "left out: cut by the edge of the image"),
            (self.lines, "polyline is", "polylines are", "left out: this type of project measures polygons"),
            (self.polygons, "polygon is", "polygons are", "left out: this type of project measures polylines"),
            (self.anonymous, "polyline is", "polylines are", "left out: part of no instance"),
            (self.partless, "polyline counts", "polylines count", "in no length: no head, midpiece or tail"),
        )
        for count, one, several, what in counted:
            if count:
                yield Warn(f"Metrics: 1 {one} {what}.", f"Metrics: {{count}} {several} {what}.", count)
        yield from _named(self.unreadable, "pixels cannot be read")
        yield from _named(self.resized, "file and project differ about the size")


def _named(images: Sequence[str], why: str) -> Iterator[Warn]:
    if images:
        what = f"no intensities, as {why}: {{names}}."
        yield Warn(f"Metrics: 1 image has {what}", f"Metrics: {{count}} images have {what}", len(images), tuple(images))


@dataclass(frozen=True, slots=True)
class Subject:
    """One image to be measured."""

    dataset: Dataset
    options: ExportOptions
    image: Image
    annotation: Annotation
    omissions: Omissions

    @property
    def order(self) -> int:
        """The image's place in the archive, from 1."""
        return self.dataset.place(self.image.name) + 1

    @property
    def scale(self) -> float | None:
        """µm per pixel."""
        return self.options.pixel_to_micrometer_scale

    @property
    def polygons(self) -> list[Polygon]:
        """Those that are measured."""
        return [polygon for polygon in self.annotation.polygons if polygon.complete]

    @property
    def in_doubt(self) -> str | None:
        """Why having no polygons does not mean that there is nothing to see; None where it does, or there are some."""
        if not self.annotation.segmented:
            return "no segmentation"
        return None if self.annotation.polygons else "; ".join(self.annotation.warnings) or None

    def pixels(self) -> Pixels | None:
        """For intensities; None, and an omission, where they cannot be told. Decodes the file: ask once."""
        try:
            found = self.dataset.pixels(self.image)
        except UnreadableImage:
            self.omissions.unreadable.append(self.image.name)
            return None
        size = size_of(self.image)
        if size is not None and size != (found.shape[1], found.shape[0]):
            self.omissions.resized.append(self.image.name)
            return None
        return found


Rows = Callable[[Subject], Iterator[tuple[Values, ...] | None]]
"""Of one image: values column by column, some rows at a time; None at other places to look for a cancel."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table before it is known which columns and units are asked for."""

    name: str
    file: str
    columns: Callable[[ExportOptions], tuple[Column, ...]]
    rows: Rows
    summarised: bool = False

    def table(self, options: ExportOptions) -> Table:
        """For these options."""
        return Table(self.name, self.file, self.columns(options), self.summarised)
