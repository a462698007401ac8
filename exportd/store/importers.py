"""Files -> embedded catalogue: COCO, the platform's project.json, and a drawn sample. Blocking.

An import is all or nothing; `importing` sees to that. JSON files are streamed, so memory does not grow with their
polygons.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import orjson

from exportd.errors import ImportFailed, SettingsError
from exportd.settings import Settings
from exportd.store.embedded import EmbeddedCatalogue
from exportd.store.importing import (
    MAX_INT,
    Draft,
    Import,
    Imported,
    Part,
    Segmentation,
    as_integer,
    as_moment,
    as_number,
    as_text,
    basename,
    importing,
    roots_of,
)
from exportd.store.jsonstream import walk
from exportd.store.sample import draw_project

__all__ = ["Imported", "import_coco", "import_project", "sample_project"]

PART_CLASSES = frozenset({"head", "midpiece", "tail", "core"})
"""COCO categories of these names become the `partClass` of a polygon; other names have no place in the catalogue."""


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
        importing(catalogue, settings.uploads_directory, roots_of(images, annotations), owner) as running,
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
        return running.finish(None, as_text(title or annotations.stem), "spheroid")


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
    with importing(catalogue, uploads, roots_of(images, project), owner) as running:
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
            as_text(title) or as_text(about.get("title")) or as_text(project.stem),
            as_text(about.get("type")) or "spheroid",
        )


# --- project.json -------------------------------------------------------------------------------------------------


def _project_image(running: Import, value: object) -> None:
    if not isinstance(value, dict):
        running.warn(f"Image {running.seen + 1} of the file was left out: it is no JSON object.")
        running.seen += 1
        return
    path = as_text(value.get("originalPath")) or as_text(value.get("name"))
    draft = Draft(
        id=value.get("id"),
        name=as_text(value.get("name")) or basename(path) or "image",
        path=path,
        width=as_integer(value.get("width")),
        height=as_integer(value.get("height")),
        media_type=as_text(value.get("mimeType")),
        display_order=as_integer(value.get("displayOrder"), least=-MAX_INT),
        parent_video_id=as_text(value.get("parentVideoId")) or None,
        frame_index=as_integer(value.get("frameIndex"), least=0),
        created_at=as_moment(value.get("createdAt")),
        updated_at=as_moment(value.get("updatedAt")),
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


def _project_segmentation(running: Import, draft: Draft, value: Mapping[str, object]) -> Segmentation:
    polygons = value.get("polygons")
    try:
        text = polygons.encode() if isinstance(polygons, str) else orjson.dumps(polygons)
    except (TypeError, UnicodeEncodeError):  # integers beyond 64 bits, half a surrogate pair
        running.warn(f"{draft.name}: its polygons hold a value that cannot be stored; they were left out.")
        text, polygons = b"[]", []
    entries = [p for p in polygons if isinstance(p, dict)] if isinstance(polygons, list) else None
    count = text.count(b'"points"') if entries is None else len(entries)
    return Segmentation(
        parts=(running.spool.put(text),),
        count=count,
        whole=True,
        model=as_text(value.get("model")) or None,
        threshold=as_number(value.get("threshold")),
        confidence=as_number(value.get("confidence")),
        width=as_integer(value.get("imageWidth")) or draft.width,
        height=as_integer(value.get("imageHeight")) or draft.height,
    )


# --- COCO ---------------------------------------------------------------------------------------------------------


class _Outline(NamedTuple):
    """One ring of an annotation, as the JSON text of a polygon in the spool."""

    category: object
    part: Part


class _Coco:
    """Collects the lists of a COCO file, which come in any order."""

    def __init__(self, running: Import) -> None:
        self._running = running
        self._images: dict[object, Draft] = {}
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
        elif as_text(value.get("name")).lower() in PART_CLASSES:
            self._classes[_key(value.get("id"))] = as_text(value.get("name")).lower()

    def _image(self, value: Mapping[str, object]) -> None:
        image_id = _key(value.get("id"))
        if image_id is None or image_id in self._images:
            self._left_out["images without an id of their own"] += 1
            return
        path = as_text(value.get("file_name"))
        self._images[image_id] = Draft(
            id=None,
            name=basename(path) or "image",
            path=path,
            width=as_integer(value.get("width")),
            height=as_integer(value.get("height")),
            created_at=as_moment(value.get("date_captured")),
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
            if outlines and not isinstance(outlines, list):
                self._left_out[f"{kind} outlines that are no list of rings"] += 1
                continue
            for number, ring in enumerate(outlines if isinstance(outlines, list) else ()):
                points = _points(ring)
                if points is None:
                    self._left_out["outlines that are no list of at least three points"] += 1
                    continue
                polygon: dict[str, object] = {
                    "id": as_text(f"a{name}-{letter}{number}"),
                    "type": kind,
                    "points": points,
                }
                if (score := as_number(value.get("score"))) is not None:
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
            found = Segmentation(parts=parts, count=len(parts), width=draft.width, height=draft.height)
            self._running.add(replace(draft, segmentation=found))
        if strays := sum(map(len, self._outlines.values())):
            self._left_out["outlines of images that are not in the file"] += strays
        for what, count in self._left_out.items():
            self._running.warn(f"Left out: {count} {what}.")

    def _part(self, outline: _Outline) -> Part:
        part_class = self._classes.get(outline.category)
        return outline.part if part_class is None else outline.part._replace(part_class=part_class)


def _points(ring: object) -> list[dict[str, float]] | None:
    """The points of a flat list x1, y1, x2, y2, ..."""
    if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
        return None
    numbers = [as_number(value) for value in ring]
    if None in numbers:
        return None
    return [{"x": x, "y": y} for x, y in zip(ring[::2], ring[1::2], strict=True)]


def _key(value: object) -> object:
    return value if isinstance(value, int | str) else None
