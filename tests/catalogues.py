"""Rows for tests of catalogues."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from exportd.core.users import User
from exportd.store.catalogue import ImageRow, SegmentationRow
from exportd.store.embedded import NewImage

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
PROJECT = "00000000-0000-4000-8000-0000000000a1"
OTHER = "00000000-0000-4000-8000-0000000000a2"
STRANGER = User("stranger", "stranger@example.org")


def image(number: int, **changes: Any) -> NewImage:
    row = ImageRow(
        f"i{number}", f"{number}.png", f"p/{number}.png", 10, 20, "image/png", 100, number, None, None, T0, T0
    )
    return NewImage(row._replace(**changes))


def polygons(count: int) -> SegmentationRow:
    text = "[" + ",".join('{"type":"external","points":[]}' for _ in range(count)) + "]"
    return SegmentationRow(text, "m", 0.5, None, 10, 20)


def three() -> list[NewImage]:
    """Images with no, one and two polygons."""
    return [NewImage(image(n).row, polygons(n)) for n in range(3)]
