"""Files -> embedded catalogue: COCO, the platform's project.json, and a drawn sample. Blocking.

An import is all or nothing. Images are copied into a folder that nobody knows yet, polygons into a spool file; then the
folder gets its name, then all rows are committed at once. JSON files are streamed, so memory does not grow with their
polygons.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from exportd.errors import ImportFailed, SettingsError
from exportd.settings import Settings
from exportd.store.catalogue import ImageRow, SegmentationRow, moment
from exportd.store.embedded import EmbeddedCatalogue, NewImage, checked_email
from exportd.store.jsonstream import walk
from exportd.store.sample import draw_project
from exportd.store.sources import UnreadableImage, Uploads

COPY_BYTES = 1 << 20

PART_CLASSES = frozenset({"head", "midpiece", "tail", "core"})
"""COCO categories of these names become the `partClass` of a polygon; other names have no place in the catalogue."""

_MAX_INT = 2**31 - 1
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


def import_project(
    settings: Settings, project: Path, images: Path | None, owner: str, title: str | None = None
) -> Imported:
    """Imports a project.json: `{id, title, type, images: [{id, name, originalPath, width, height, mimeType,
    segmentation: {polygons, model, threshold, confidence, imageWidth, imageHeight} | null}]}`.

    Image paths are looked up below `images`, then below the file's folder; what leaves them or is missing is skipped
    with a warning. Ids that are no UUIDs or are taken are replaced. Polygons are stored as they are, `polygons` that is
    a text literally. Raises `ImportFailed` (nothing was imported), `SettingsError` (bad address of the owner, or the
    projects come from another database) and `DataDirectoryUnusable`.
    """
    with _writable(settings) as catalogue:
        return _import_project(catalogue, settings.uploads_directory, project, images, owner, title)


def import_coco(
    settings: Settings, annotations: Path, images: Path | None, owner: str, title: str | None = None
) -> Imported:
    """Imports COCO instances: https://cocodataset.org/#format-data, coordinates in pixels.

    Each ring of `segmentation` becomes an external polygon, each ring of the extra key `holes` an internal one; images
    without annotations count as looked at, with nothing found. Masks (RLE), outlines of fewer than three points and
    annotations of unknown images are left out with a warning that counts them. Otherwise as `import_project`.
    """
    with (
        _writable(settings) as catalogue,
        _importing(catalogue, settings.uploads_directory, _roots(images, annotations), owner) as running,
    ):
        coco = _Coco(running)
        found: set[str] = set()
        for key, value in walk(annotations, {"images", "annotations", "categories"}, found):
            if key in found:
                coco.take(key, value)
        if not {"images", "annotations"} <= found:
            raise ImportFailed(
                f"{annotations.name} has no lists of images and annotations; give a COCO instances file."
            )
        coco.finish()
        return running.finish(None, title or annotations.stem, "spheroid")


def sample_project(catalogue: EmbeddedCatalogue, uploads: Path, owner: str, images: int) -> Imported:
    """Draws a project of `images` images and imports it; raises what `import_project` raises."""
    with tempfile.TemporaryDirectory() as folder:
        return _import_project(catalogue, uploads, draw_project(Path(folder), images), None, owner, None)


@contextmanager
def _writable(settings: Settings) -> Iterator[EmbeddedCatalogue]:
    if settings.database_url is not None:
        raise SettingsError("Projects come from EXPORTD_DATABASE_URL, which is never written; unset it to import.")
    with EmbeddedCatalogue(settings.data) as catalogue:
        yield catalogue


def _import_project(
    catalogue: EmbeddedCatalogue, uploads: Path, project: Path, images: Path | None, owner: str, title: str | None
) -> Imported:
    with _importing(catalogue, uploads, _roots(images, project), owner) as running:
        about: dict[str, object] = {}
        found: set[str] = set()
        for key, value in walk(project, {"images"}, found):
            if key != "images":
                about[key] = value if isinstance(value, str) else None
            elif "images" in found:
                _project_image(running, value)
        if "images" not in found:
            raise ImportFailed(f"{project.name} has no list of images; give the project.json of a project.")
        return running.finish(
            about.get("id"),
            title or _text(about.get("title")) or project.stem,
            _text(about.get("type")) or "spheroid",
        )


# --- project.json -------------------------------------------------------------------------------------------------


def _project_image(running: _Import, value: object) -> None:
    if not isinstance(value, dict):
        running.warn(f"Image {running.seen + 1} of the file was left out: it is no JSON object.")
        running.seen += 1
        return
    path = _text(value.get("originalPath")) or _text(value.get("name"))
    draft = _Draft(
        id=value.get("id"),
        name=_text(value.get("name")) or _basename(path) or "image",
        path=path,
        width=_integer(value.get("width")),
        height=_integer(value.get("height")),
        media_type=_text(value.get("mimeType")),
        display_order=_integer(value.get("displayOrder"), least=-_MAX_INT),
        parent_video_id=_text(value.get("parentVideoId")) or None,
        frame_index=_integer(value.get("frameIndex"), least=0),
        created_at=_moment(value.get("createdAt")),
        updated_at=_moment(value.get("updatedAt")),
    )
    if value.get("isVideoContainer") is True:
        running.seen += 1
        running.warn(f"{draft.name} was left out: it is a video; its frames are images of their own.")
        return
    segmentation = value.get("segmentation")
    if isinstance(segmentation, dict):
        draft = replace(draft, segmentation=_project_segmentation(running, draft, segmentation))
    elif segmentation is not None:
        running.warn(f"{draft.name}: its segmentation is no JSON object and was left out.")
    running.add(draft)


def _project_segmentation(running: _Import, draft: _Draft, value: Mapping[str, object]) -> _Segmentation:
    polygons = value.get("polygons")
    try:
        text = polygons.encode() if isinstance(polygons, str) else orjson.dumps(polygons)
    except (TypeError, UnicodeEncodeError):  # integers beyond 64 bits, half a surrogate pair
        running.warn(f"{draft.name}: its polygons hold a value that cannot be stored; they were left out.")
        text, polygons = b"[]", []
    entries = [p for p in polygons if isinstance(p, dict)] if isinstance(polygons, list) else None
    count = text.count(b'"points"') if entries is None else len(entries)
    return _Segmentation(
        parts=(running.spool.put(text),),
        count=count,
        whole=True,
        model=_text(value.get("model")) or None,
        threshold=_number(value.get("threshold")),
        confidence=_number(value.get("confidence")),
        width=_integer(value.get("imageWidth")) or draft.width,
        height=_integer(value.get("imageHeight")) or draft.height,
    )


# --- COCO ---------------------------------------------------------------------------------------------------------


class _Outline(NamedTuple):
    """One ring of an annotation, as the JSON text of a polygon in the spool."""

    category: object
    part: _Part


class _Coco:
    """Collects the lists of a COCO file, which come in any order."""

    def __init__(self, running: _Import) -> None:
        self._running = running
        self._images: dict[object, _Draft] = {}
        self._outlines: dict[object, list[_Outline]] = {}
        self._classes: dict[object, str] = {}
        self._left_out: Counter[str] = Counter()
        self._number = 0

    def take(self, key: str, value: object) -> None:
        if not isinstance(value, dict):
            self._left_out[f"entries of {key} that are no JSON objects"] += 1
        elif key == "images":
            self._image(value)
        elif key == "annotations":
            self._annotation(value)
        elif _text(value.get("name")).lower() in PART_CLASSES:
            self._classes[_key(value.get("id"))] = _text(value.get("name")).lower()

    def _image(self, value: Mapping[str, object]) -> None:
        image_id = _key(value.get("id"))
        if image_id is None or image_id in self._images:
            self._left_out["images without an id of their own"] += 1
            return
        path = _text(value.get("file_name"))
        self._images[image_id] = _Draft(
            id=None,
            name=_basename(path) or "image",
            path=path,
            width=_integer(value.get("width")),
            height=_integer(value.get("height")),
            created_at=_moment(value.get("date_captured")),
        )

    def _annotation(self, value: Mapping[str, object]) -> None:
        self._number += 1
        rings = value.get("segmentation")
        if isinstance(rings, dict):
            self._left_out["annotations that are masks (RLE), not polygons: convert them to polygons"] += 1
            return
        name = value.get("id") if isinstance(value.get("id"), int | str) else self._number
        drawn = 0
        for kind, letter, outlines in (("external", "e", rings), ("internal", "i", value.get("holes"))):
            for number, ring in enumerate(outlines if isinstance(outlines, list) else ()):
                points = _points(ring)
                if points is None:
                    self._left_out["outlines that are no list of at least three points"] += 1
                    continue
                polygon: dict[str, object] = {"id": f"a{name}-{letter}{number}", "type": kind, "points": points}
                if (score := _number(value.get("score"))) is not None:
                    polygon["confidence"] = score
                part = self._running.spool.put(orjson.dumps(polygon))
                outline = _Outline(_key(value.get("category_id")), part)
                self._outlines.setdefault(_key(value.get("image_id")), []).append(outline)
                drawn += 1
        if not drawn and not rings:
            self._left_out["annotations without an outline"] += 1

    def finish(self) -> None:
        """Adds the images with what belongs to them."""
        for image_id, draft in self._images.items():
            parts = tuple(self._part(outline) for outline in self._outlines.pop(image_id, ()))
            found = _Segmentation(parts=parts, count=len(parts), width=draft.width, height=draft.height)
            self._running.add(replace(draft, segmentation=found))
        if strays := sum(map(len, self._outlines.values())):
            self._left_out["outlines of images that are not in the file"] += strays
        for what, count in self._left_out.items():
            self._running.warn(f"Left out: {count} {what}.")

    def _part(self, outline: _Outline) -> _Part:
        part_class = self._classes.get(outline.category)
        return outline.part if part_class is None else outline.part._replace(part_class=part_class)


def _points(ring: object) -> list[dict[str, float]] | None:
    """The points of a flat list x1, y1, x2, y2, ..."""
    if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
        return None
    numbers = [_number(value) for value in ring]
    if None in numbers:
        return None
    return [{"x": x, "y": y} for x, y in zip(ring[::2], ring[1::2], strict=True)]


# --- one import ---------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """Where a piece of JSON text stands in the spool; `part_class` is put into it when it is read."""

    begin: int
    size: int
    part_class: str | None = None


class _Spool:
    """A nameless file that holds the polygons until all images are there."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by whoever made this
        self._end = 0

    def put(self, text: bytes) -> _Part:
        self._file.write(text)
        part = _Part(self._end, len(text))
        self._end += len(text)
        return part

    def get(self, part: _Part) -> bytes:
        self._file.seek(part.begin)
        text = self._file.read(part.size)
        if part.part_class is None:
            return text
        return b'{"partClass":"' + part.part_class.encode() + b'",' + text[1:]

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class _Segmentation:
    """Polygons in the spool: the `whole` array, or its items."""

    parts: tuple[_Part, ...]
    count: int
    whole: bool = False
    model: str | None = None
    threshold: float | None = None
    confidence: float | None = None
    width: int | None = None
    height: int | None = None

    def row(self, spool: _Spool) -> SegmentationRow:
        texts = [spool.get(part) for part in self.parts]
        text = texts[0] if self.whole else b"[" + b",".join(texts) + b"]"
        return SegmentationRow(
            text.decode(errors="replace"), self.model, self.threshold, self.confidence, self.width, self.height
        )


@dataclass(frozen=True, slots=True)
class _Draft:
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
    segmentation: _Segmentation | None = None


@contextmanager
def _importing(catalogue: EmbeddedCatalogue, uploads: Path, roots: Sequence[Path], owner: str) -> Iterator[_Import]:
    """An import that leaves nothing behind unless it is finished."""
    address = checked_email(owner)
    folder = uploads / f".importing-{uuid.uuid4()}"
    try:
        folder.mkdir(mode=0o700, parents=True)
        spool = _Spool(folder)
    except OSError as error:
        raise ImportFailed(f"The folder for uploads cannot be written to: {error.strerror}.") from error
    running = _Import(catalogue, uploads, folder, spool, [Uploads(root) for root in roots], address)
    try:
        yield running
    except OSError as error:
        raise ImportFailed(f"The images cannot be copied: {error.strerror}.") from error
    finally:
        spool.close()
        if not running.finished:
            shutil.rmtree(running.folder, ignore_errors=True)


@dataclass(slots=True)
class _Import:
    catalogue: EmbeddedCatalogue
    uploads: Path
    folder: Path
    """Where the images are; what is to be removed when the import fails."""
    spool: _Spool
    roots: Sequence[Uploads]
    owner: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    seen: int = 0
    finished: bool = False
    _warnings: list[str] = field(default_factory=list)
    _rows: list[tuple[ImageRow, _Segmentation | None]] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def warn(self, sentence: str) -> None:
        self._warnings.append(sentence)

    def add(self, draft: _Draft) -> None:
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
        found = _uuid(wanted)
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

    def _look(self, file_name: str, draft: _Draft) -> tuple[int | None, int | None, str]:
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
        found = _uuid(wanted)
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


def _roots(images: Path | None, file: Path) -> list[Path]:
    if images is not None and not images.is_dir():
        raise ImportFailed("--images is no folder; name the folder that the image paths are relative to.")
    return [file.parent] if images is None else [images, file.parent]


def _copy(source: int, target: Path) -> int:
    """Copies bit for bit; the number of bytes. Raises OSError."""
    size = 0
    with target.open("xb") as file:
        while chunk := os.read(source, COPY_BYTES):
            file.write(chunk)
            size += len(chunk)
    return size


def _extension(path: str) -> str:
    match = re.search(r"\.[A-Za-z0-9]{1,10}$", path)
    return match[0].lower() if match else ""


def _basename(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _uuid(value: object) -> str | None:
    """A UUID in its usual form, in lower case."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value):
        return value.lower()
    return None


def _text(value: object) -> str:
    """Text that can be stored; empty for what is none."""
    return value.encode(errors="replace").decode().replace("\0", "") if isinstance(value, str) else ""


def _key(value: object) -> object:
    return value if isinstance(value, int | str) else None


def _integer(value: object, least: int = 1) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_INT else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
        return None
    return float(value)


def _moment(value: object) -> datetime | None:
    return None if isinstance(value, bool) else moment(value)
