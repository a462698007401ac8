"""What an export will have to read, for its estimate: summed up by the database, so that no row of an image is read here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from exportd.store.queries import IS_IMAGE, batches, images_of
from exportd.store.reading import Reader
from exportd.store.tables import images, octet_length, segmentations

SAMPLE = 5000
"""Segmentations that are read for an estimate. More than that are extrapolated: reading gigabytes of polygons to tell
how many there are would take longer than a caller waits."""


class Totals(NamedTuple):
    """What an export of these images has to read."""

    images: int
    annotations: int
    """Polygons, polylines and holes; see `totals`."""
    image_bytes: int
    pixels: int
    polygon_bytes: int


class _Sums(NamedTuple):
    images: int
    bytes: int
    with_bytes: int
    pixels: int
    with_pixels: int


_PIXELS = sa.func.nullif(sa.cast(images.c.width, sa.BigInteger) * images.c.height, 0)

_SUMS = (
    sa.func.count(),
    sa.func.sum(images.c.fileSize),
    sa.func.count(images.c.fileSize),
    sa.func.sum(_PIXELS),
    sa.func.count(_PIXELS),
)


def totals(reader: Reader, project_id: str, selected: Sequence[str] | None) -> Totals:
    """Polygons are counted by the key `"points"` in their text, not parsed.

    Above `SAMPLE` images polygons are extrapolated from that many, spread evenly over the ids. An image without a size
    counts like the mean of the others.
    """
    if selected is None:
        of_project = sa.and_(images.c.projectId == project_id, IS_IMAGE)
        sums = _sums(reader, [of_project])
        sample = _sample(reader, of_project, sums.images)
    else:
        ids = sorted({row[0] for row in images_of(reader, project_id, selected, (images.c.id,))})
        sums = _sums(reader, (images.c.id.in_(batch) for batch in batches(ids)))
        sample = ids if len(ids) <= SAMPLE else [ids[i * len(ids) // SAMPLE] for i in range(SAMPLE)]
    annotations, polygon_bytes = _polygons(reader, sample)
    scale = sums.images / len(sample) if sample else 1.0
    return Totals(
        sums.images,
        round(annotations * scale),
        _like_the_mean(sums.bytes, sums.with_bytes, sums.images),
        _like_the_mean(sums.pixels, sums.with_pixels, sums.images),
        round(polygon_bytes * scale),
    )


def _sums(reader: Reader, conditions: Iterable[sa.ColumnElement[bool]]) -> _Sums:
    """Over the images that one of the conditions holds for; for none may two hold."""
    sums = _Sums(0, 0, 0, 0, 0)
    for condition in conditions:
        for row in reader.rows(sa.select(*_SUMS).select_from(images).where(condition)):
            sums = _Sums(*(total + int(more or 0) for total, more in zip(sums, row, strict=True)))
    return sums


def _sample(reader: Reader, of_project: sa.ColumnElement[bool], count: int) -> list[str]:
    """At most `SAMPLE` of the project's `count` ids, spread evenly over them."""
    place = sa.func.row_number().over(order_by=images.c.id)
    ids = sa.select(images.c.id, place.label("place")).where(of_project).subquery()
    chosen = sa.select(ids.c.id).where((ids.c.place * SAMPLE) % max(count, 1) < SAMPLE)
    return [row[0] for row in reader.rows(chosen)]


def _polygons(reader: Reader, image_ids: Sequence[str]) -> tuple[int, int]:
    """How many of them there are, and their bytes as text. In batches: each is a short statement."""
    count = size = 0
    text = segmentations.c.polygons
    key = '"points"'
    length = octet_length(text)
    in_keys = sa.func.sum(length - octet_length(sa.func.replace(text, key, "")))
    for batch in batches(image_ids):
        statement = sa.select(in_keys, sa.func.sum(length)).where(segmentations.c.imageId.in_(batch))
        for of_keys, of_all in reader.rows(statement):
            count += int(of_keys or 0) // len(key)
            size += int(of_all or 0)
    return count, size


def _like_the_mean(known: int, count: int, of: int) -> int:
    """The sum over `of` values, of which `count` are known, with their mean for each other; 0 when none is."""
    return known * of // count if count else 0
