"""What an export of everything cannot do without, each part alone: one thread, the bare calls of the same libraries with the
same settings, nothing around them. Seconds of CPU time, summed over the project."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import orjson
import shapely
import skia
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from benches.ground import Place
from exportd.formats import labels as labelling
from exportd.formats import png, zipping
from exportd.formats.drawing import typeface
from exportd.store.engines import FILE_NAME

CHUNK = 1 << 20
Picture = NDArray[np.uint8]
Rings = Sequence[NDArray[np.float64]]


@dataclass(slots=True)
class Parts:
    """Seconds by part."""

    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.spent[part] = self.spent.get(part, 0.0) + time.thread_time() - began


def measure(place: Place, archive: Path, scratch: Path) -> dict[str, float]:
    """All parts, once over the project's images and once over an archive that was made of it."""
    spend, font = Parts(), skia.Font(typeface(), 24)
    for original, text in _rows(place):
        with spend("parse"):
            rings = [np.array([(p["x"], p["y"]) for p in ring["points"]]) for ring in orjson.loads(text)]
        with spend("decode"):
            grey = imagecodecs.png_decode(original.read_bytes())
        with spend("draw"):
            drawn = _drawn(grey, rings, font)
        with spend("encode"):
            _png(drawn, photo=True)
        with spend("labels"):
            labels = _labels(grey, rings)
        with spend("intensities"):
            _intensities(grey, labels, rings)
        with spend("geometry"):
            _geometry(rings)
    _archive(archive, scratch / "bare.zip", spend)
    return spend.spent


def _rows(place: Place) -> Iterator[tuple[Path, str]]:
    """Original and polygons of each image, as the catalogue has them."""
    images = (
        'SELECT i."originalPath", s.polygons FROM images i JOIN segmentations s ON s."imageId" = i.id '
        'WHERE i."projectId" = ?'
    )
    with closing(sqlite3.connect(place.data / FILE_NAME)) as db:
        yield from ((place.data / "uploads" / path, text) for path, text in db.execute(images, (place.project,)))


def _drawn(grey: Picture, rings: Rings, font: skia.Font) -> Picture:
    """Filled, outlined, numbered."""
    canvas_pixels = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA)
    fill = skia.Paint(AntiAlias=True, Color=skia.Color(255, 0, 0, 76))
    stroke = skia.Paint(AntiAlias=True, Color=skia.Color(255, 0, 0), Style=skia.Paint.kStroke_Style, StrokeWidth=2)
    paths = []
    for ring in rings:
        path = skia.Path()
        path.addPoly([skia.Point(x, y) for x, y in ring.tolist()], True)
        paths.append(path)
    with skia.Surface(canvas_pixels, skia.kBGRA_8888_ColorType, skia.kOpaque_AlphaType) as canvas:
        for paint in (fill, stroke):
            for path in paths:
                canvas.drawPath(path, paint)
        for number, ring in enumerate(rings):
            x, y = ring.mean(axis=0).tolist()
            for paint in (stroke, fill):
                canvas.drawString(str(number), x, y, font, paint)
    return cv2.cvtColor(canvas_pixels, cv2.COLOR_BGRA2RGB).astype(np.uint8, copy=False)


def _png(picture: Picture, *, photo: bool) -> bytes:
    """Sub filter and DEFLATE, as a photograph or as a drawing."""
    height, width, channels = picture.shape
    flat = picture.reshape(height, width * channels)
    room = bytearray(height * (1 + width * channels))
    lines = np.frombuffer(room, np.uint8).reshape(height, -1)
    lines[:, 0] = 1
    lines[:, 1 : 1 + channels] = flat[:, :channels]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=lines[:, 1 + channels :])
    if photo:
        body = imagecodecs.deflate_encode(room, level=png.LEVEL)
    else:
        deflate = zlib_ng.compressobj(png.LEVEL, strategy=zlib_ng.Z_RLE)
        body = deflate.compress(room) + deflate.flush()
    return struct.pack(">L", len(body)) + body + struct.pack(">L", zlib_ng.crc32(body))


def _labels(grey: Picture, rings: Rings) -> NDArray[np.uint16]:
    """Painted, packed, and once more for a palette."""
    labels = np.zeros(grey.shape, np.uint16)
    for number, ring in enumerate(rings, 1):
        cv2.fillPoly(labels, [np.rint(ring).astype(np.int32)], number)
    zlib_ng.compress(labels.data, labelling.LEVEL)
    _png(labels.astype(np.uint8)[..., np.newaxis], photo=False)
    return labels


def _intensities(grey: Picture, labels: NDArray[np.uint16], rings: Rings) -> None:
    for number, ring in enumerate(rings, 1):
        x, y, width, height = cv2.boundingRect(np.rint(ring).astype(np.int32))
        box = (slice(max(y, 0), y + height), slice(max(x, 0), x + width))
        values = grey[box][labels[box] == number].astype(np.float64)
        if len(values):
            _ = values.mean(), values.std(), values.min(), values.max(), np.median(values), values.sum()


def _geometry(rings: Rings) -> None:
    which = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    shapes: Any = shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=which))
    hulls = shapely.convex_hull(shapes)
    for measured in (shapely.area, shapely.length, shapely.bounds, shapely.centroid):
        measured(shapes)
        measured(hulls)
    for ring in rings:
        cv2.minAreaRect(ring.astype(np.float32))


def _archive(archive: Path, target: Path, spend: Parts) -> None:
    """Sums, DEFLATE of what is text, JSON, and the write with its flush."""
    with zipfile.ZipFile(archive) as members:
        for info in members.infolist():
            content = members.read(info)
            with spend("CRC-32"):
                zlib_ng.crc32(content)
            with spend("SHA-256"):
                hashlib.sha256(content)
            if info.compress_type == zipfile.ZIP_DEFLATED:
                with spend("deflate"):
                    zlib_ng.compress(content, zipping.LEVEL)
            if info.filename.endswith((".json", ".geojson")):
                value = orjson.loads(content)
                with spend("JSON"):
                    orjson.dumps(value)
    whole = hashlib.sha256()
    try:
        with archive.open("rb") as source, target.open("wb", buffering=0) as file:
            while chunk := source.read(CHUNK):
                with spend("SHA-256"):
                    whole.update(chunk)
                with spend("write"):
                    file.write(chunk)
            with spend("write"):
                os.fsync(file.fileno())
    finally:
        target.unlink()
