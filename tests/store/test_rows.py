"""Rows on disk: what was appended by then comes back, as often as it is asked for, and none of it is in memory."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from exportd.core.dataset import Annotation
from exportd.store.annotations import AnnotationFile
from exportd.store.rows import BUFFER, RowFile

MANY = 20_000


@pytest.fixture
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile(buffering=0) as file:
        yield file.fileno()


def row(number: int) -> list[object]:
    return [number, f"images/näme\n{number}.png", "a" * (number % 300), None, True, 2**40 + number]


@pytest.mark.parametrize("count", [0, 1, 2000])
def test_rows_come_back_in_order_as_often_as_they_are_asked_for(fd: int, count: int) -> None:
    file = RowFile(fd)
    for number in range(count):
        file.append(row(number))
    rows = file.rows()
    assert list(rows) == list(rows) == [row(number) for number in range(count)]
    assert count < 2000 or os.fstat(fd).st_size > 2 * BUFFER


def test_what_is_appended_later_is_not_among_them(fd: int) -> None:
    file = RowFile(fd)
    file.append(row(0))
    before = file.rows()
    reading = iter(before)
    file.append(row(1))
    after = file.rows()
    assert list(reading) == list(before) == [row(0)]
    assert list(after) == [row(0), row(1)]


def test_a_row_may_be_longer_than_what_is_read_in_one_step(fd: int) -> None:
    file = RowFile(fd)
    long = ["x" * (3 * BUFFER), 1]
    for _ in range(2):
        file.append(long)
    assert list(file.rows()) == [long, long]


def grown(add: Callable[[int], None]) -> float:
    """Bytes that are held for each of many, numbered, more than before."""
    tracemalloc.start()
    try:
        begun, _ = tracemalloc.get_traced_memory()
        for number in range(MANY):
            add(number)
        return (tracemalloc.get_traced_memory()[0] - begun) / MANY
    finally:
        tracemalloc.stop()


def test_rows_take_no_memory(fd: int) -> None:
    file = RowFile(fd)
    assert grown(lambda number: file.append(row(number))) < 10  # what is not written yet


def test_an_annotation_takes_sixteen_bytes(fd: int) -> None:
    file = AnnotationFile(fd)
    one = Annotation(warnings=("a point is not finite",), segmented=True, model="m", threshold=0.5)
    assert grown(lambda _: file.append(one, lambda: None)) < 32
