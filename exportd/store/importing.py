"""One import on its way: files copied, polygons spooled, rows committed, all or nothing. Blocking.

Images are copied into a folder that nobody knows yet, polygons into a nameless file; then the folder gets its name, then
all rows are committed at once.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from exportd.errors import ImportFailed, UnreadableImage
from exportd.store.catalogue import ImageRow, SegmentationRow
from exportd.store.embedded import EmbeddedCatalogue, NewImage, checked_email
from exportd.store.private import ensure_private_folder, private_file
from exportd.store.sources import Uploads
from exportd.store.tables import moment

COPY_BYTES = 1 << 20

MAX_INT = 2**31 - 1
"""What an integer column of the platform holds."""

_UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has brought. `annotations` counts polygons, holes and polylines."""

    project_id: str
    images: int
    annotations: int
    warnings: tuple[str, ...]

    def as_wire(self) -> dict[str, object]:
        """Under the names of SPEC §7, JSON-ready."""
        return {
            "projectId": self.project_id,
            "images": self.images,
            "annotations": self.annotations,
            "warnings": list(self.warnings),
        }


class Part(NamedTuple):
    """Where a piece of JSON text stands in the spool; `part_class` is put into it when it is read."""

    begin: int
    size: int
    part_class: str | None = None


class Spool:
    """A nameless file that holds the polygons until all images are there."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by whoever made this
        self._end = 0

    def put(self, text: bytes) -> Part:
        self._file.write(text)
        part = Part(self._end, len(text))
        self._end += len(text)
        return part

    def get(self, part: Part) -> bytes:
        self._file.seek(part.begin)
        text = self._file.read(part.size)
        if part.part_class is None:
            return text
        return b'{"partClass":"' + part.part_class.encode() + b'",' + text[1:]

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Polygons in the spool: the `whole` array, or its items."""

    parts: tuple[Part, ...]
    count: int
    whole: bool = False
    model: str | None = None
    threshold: float | None = None
    confidence: float | None = None
    width: int | None = None
    height: int | None = None

    def row(self, spool: Spool) -> SegmentationRow:
        texts = [spool.get(part) for part in self.parts]
        text = texts[0] if self.whole else b"[" + b",".join(texts) + b"]"
        return SegmentationRow(
            text.decode(errors="replace"), self.model, self.threshold, self.confidence, self.width, self.height
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """An image as the file tells it."""

    id: object
    name: str
    path: str
    width: int | None = None
    height: int | None = None
    media_type: str = ""
    display_order: int | None = None
    parent_video_id: str | None = None
    frame_index: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    segmentation: Segmentation | None = None


@contextmanager
def importing(catalogue: EmbeddedCatalogue, uploads: Path, roots: Sequence[Path], owner: str) -> Iterator[Import]:
    """An import that leaves nothing behind unless it is finished."""
    address = checked_email(owner)
    folder = uploads / f".importing-{uuid.uuid4()}"
    try:
        ensure_private_folder(uploads)
        folder.mkdir(mode=0o700)
        spool = Spool(folder)
    except OSError as error:
        raise ImportFailed(f"The folder for uploads cannot be written to: {error.strerror}.") from error
    running = Import(catalogue, uploads, folder, spool, [Uploads(root) for root in roots], address)
    try:
        yield running
    except OSError as error:
        raise ImportFailed(f"The images cannot be copied: {error.strerror}.") from error
    finally:
        spool.close()
        if not running.finished:
            shutil.rmtree(running.folder, ignore_errors=True)


@dataclass(slots=True)
class Import:
    catalogue: EmbeddedCatalogue
    uploads: Path
    folder: Path
    """Where the images are; what is to be removed when the import fails."""
    spool: Spool
    roots: Sequence[Uploads]
    owner: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    seen: int = 0
    finished: bool = False
    _warnings: list[str] = field(default_factory=list)
    _rows: list[tuple[ImageRow, Segmentation | None]] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def warn(self, sentence: str) -> None:
        self._warnings.append(sentence)

    def add(self, draft: Draft) -> None:
        """Copies the image and keeps its row for the end; a warning instead, when its file cannot be had."""
        self.seen += 1
        image_id = self._image_id(draft.id)
        file_name = image_id + _extension(draft.path)
        try:
            source = self._open(draft.path)
        except UnreadableImage as error:
            self.warn(f"{draft.name} was left out: {error.reason}.")
            return
        try:
            size = _copy(source, self.folder / file_name)
        finally:
            os.close(source)
        width, height, media_type = self._look(file_name, draft)
        row = ImageRow(
            id=image_id,
            name=draft.name,
            original_path=file_name,
            width=width,
            height=height,
            media_type=media_type,
            size=size,
            display_order=draft.display_order,
            parent_video_id=draft.parent_video_id,
            frame_index=draft.frame_index,
            created_at=draft.created_at or self.now,
            updated_at=draft.updated_at or draft.created_at or self.now,
        )
        self._ids.add(image_id)
        self._rows.append((row, draft.segmentation))

    def _image_id(self, wanted: object) -> str:
        found = as_uuid(wanted)
        if found is None or found in self._ids or self.catalogue.has_image(found):
            return str(uuid.uuid4())
        return found

    def _open(self, path: str) -> int:
        """From the first root that has it. Raises `UnreadableImage`, for the reason that says most."""
        reason: UnreadableImage | None = None
        for root in self.roots:
            try:
                return root.open(path)
            except UnreadableImage as error:
                if reason is None or reason.missing:
                    reason = error
        raise reason or UnreadableImage("the file is missing", missing=True)

    def _look(self, file_name: str, draft: Draft) -> tuple[int | None, int | None, str]:
        """Width, height and media type: those of the JSON file, else those that the image itself tells.

        What is no image is imported as well, with a warning: an export will leave it out with another.
        """
        unknown = not (draft.width and draft.height)
        try:
            probe = Uploads(self.folder).probe(file_name, dimensions=unknown)
        except UnreadableImage as error:
            self.warn(f"{draft.name} was imported and cannot be exported: {error.reason}.")
            return draft.width, draft.height, draft.media_type or _UNKNOWN_TYPE
        if probe.warning:
            self.warn(f"{draft.name}: {probe.warning}.")
        width, height = (probe.width, probe.height) if unknown else (draft.width, draft.height)
        return width, height, draft.media_type or probe.media_type or _UNKNOWN_TYPE

    def finish(self, wanted_id: object, title: str, kind: str) -> Imported:
        """Gives the folder its name and commits the rows. Raises `ImportFailed`."""
        if self.seen and not self._rows:
            raise ImportFailed(
                f"None of the {self.seen} images could be imported, the first: {self._warnings[0]} "
                "Name the folder of the images with --images."
            )
        project_id = self._project_id(wanted_id)
        final = self.uploads / project_id
        self.folder.rename(final)
        self.folder = final
        self.catalogue.insert(project_id, title, kind, self.owner, self._new_images(project_id))
        self.finished = True
        annotations = sum(found.count for _, found in self._rows if found is not None)
        return Imported(project_id, len(self._rows), annotations, tuple(self._warnings))

    def _project_id(self, wanted: object) -> str:
        found = as_uuid(wanted)
        if found is None or self.catalogue.has_project(found) or (self.uploads / found).exists():
            return str(uuid.uuid4())
        return found

    def _new_images(self, project_id: str) -> Iterator[NewImage]:
        # The order of the file is the order of the project, unless the file has an order of its own.
        ordered = any(row.display_order is not None for row, _ in self._rows)
        for place, (row, found) in enumerate(self._rows):
            yield NewImage(
                row._replace(
                    original_path=f"{project_id}/{row.original_path}",
                    display_order=row.display_order if ordered else place,
                ),
                None if found is None else found.row(self.spool),
            )


# --- values of a file that may hold anything ----------------------------------------------------------------------


def roots_of(images: Path | None, file: Path) -> list[Path]:
    if images is not None and not images.is_dir():
        raise ImportFailed("--images is no folder; name the folder that the image paths are relative to.")
    return [file.parent] if images is None else [images, file.parent]


def _copy(source: int, target: Path) -> int:
    """Copies bit for bit; the number of bytes. Raises OSError."""
    size = 0
    with os.fdopen(private_file(target), "wb") as file:
        while chunk := os.read(source, COPY_BYTES):
            file.write(chunk)
            size += len(chunk)
    return size


def _extension(path: str) -> str:
    match = re.search(r"\.[A-Za-z0-9]{1,10}$", path)
    return match[0].lower() if match else ""


def basename(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def as_uuid(value: object) -> str | None:
    """A UUID in its usual form, in lower case."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value):
        return value.lower()
    return None


def as_text(value: object) -> str:
    """Text that can be stored; empty for what is none."""
    return value.encode(errors="replace").decode().replace("\0", "") if isinstance(value, str) else ""


def as_integer(value: object, least: int = 1) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_INT else None


def as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
        return None
    return float(value)


def as_moment(value: object) -> datetime | None:
    return None if isinstance(value, bool) else moment(value)
