"""The wound's chart as Pillow 12.3.0 sees it: where there is ink."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from spooled import OBJECTS, SERIES, block, content, many, spool_of

from exportd.formats.wound_chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LINE,
    PATH,
    RIGHT,
    TOP,
    WIDTH,
    across,
    nice_step,
    picture,
    runs,
    thinned,
    up,
    wound_chart,
)


def drawn(areas: list[float], orders: list[float] | None = None) -> NDArray[np.bool_]:
    """Where the curve is, in the plot."""
    places = np.arange(1, len(areas) + 1) if orders is None else np.array(orders)
    data = b"".join(picture(places.astype(np.float64), np.array(areas, np.float64)))
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    plot = pixels[TOP : HEIGHT - BOTTOM, LEFT + 3 : WIDTH - RIGHT]
    return np.asarray(np.abs(plot - LINE).sum(axis=2) < 30)


def test_the_curve_falls_from_the_left_to_the_right_as_the_wound_heals() -> None:
    rows, columns = np.nonzero(drawn([40, 30, 20, 10]))
    assert np.corrcoef(rows, columns)[0, 1] > 0.99
    assert columns.min() < 30
    assert columns.max() > WIDTH - RIGHT - LEFT - 40


def test_a_missing_value_is_a_gap() -> None:
    columns = np.asarray(drawn([40, 40, math.nan, 40, 40]).any(axis=0))
    begins = np.flatnonzero(np.diff(columns.astype(int)) == 1)
    assert len(begins) == 2
    assert not columns[len(columns) // 2 - 100 : len(columns) // 2 + 100].any()


def test_a_lone_value_between_gaps_is_a_point_however_many_there_are() -> None:
    areas = [math.nan, 50.0] * 200
    assert drawn(areas).any(axis=0).sum() > 400


def test_orders_that_do_not_rise_give_equal_distances() -> None:
    assert (drawn([4, 3, 2], [5, 5, math.nan]) == drawn([4, 3, 2], [1, 2, 3])).all()
    assert (drawn([4, 3, 2], [1, 2, 9]) != drawn([4, 3, 2], [1, 2, 3])).any()


@pytest.mark.parametrize("areas", [[], [math.nan] * 3, [0.0] * 3, [3.0], [1e-12, 2e-12], [0.0, 100.0], [1e300, 1.0]])
def test_any_series_is_a_picture(areas: list[float]) -> None:
    assert drawn(areas).any() == any(map(math.isfinite, areas))


def test_thousands_of_images_are_drawn_in_short_steps_and_the_same_way_twice() -> None:
    areas = 40 + np.random.default_rng(0).normal(0, 2, 30_000)
    orders = np.arange(30_000.0)
    chunks = list(picture(orders, areas))
    assert chunks == list(picture(orders, areas))
    assert len(chunks) > 20
    assert drawn(areas.tolist())[:, 20:-20].any(axis=0).all()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 500)), min_size=30, max_size=200))
def test_thinning_keeps_the_range_of_each_column_of_pixels(points: list[tuple[float, float]]) -> None:
    whole = np.array(sorted(points, key=lambda point: point[0]))
    fewer = thinned(whole)
    assert len(fewer) <= max(len(np.unique(np.floor(whole[:, 0]))) * 4, 0) or len(fewer) == len(whole)
    for column in np.unique(np.floor(whole[:, 0])):
        before, after = (part[np.floor(part[:, 0]) == column, 1] for part in (whole, fewer))
        assert (before.min(), before.max(), before[0], before[-1]) == (after.min(), after.max(), after[0], after[-1])


@given(st.lists(st.booleans()))
def test_runs_are_what_stands_together(present: list[bool]) -> None:
    found = np.zeros(len(present), bool)
    for run in runs(np.array(present, bool)):
        assert not found[max(run.start - 1, 0) : run.stop].any()
        found[run] = True
    assert found.tolist() == present


@given(st.floats(1e-12, 1e12))
def test_ticks_are_few_and_round(high: float) -> None:
    axis = up(np.array([high / 2, high]))
    assert axis.high >= high * (1 - 1e-12)
    assert 4 <= len(axis.ticks) <= 10
    assert float(f"{nice_step(high):.0e}") == pytest.approx(nice_step(high))


def test_ticks_of_images_are_whole_numbers_that_exist() -> None:
    assert across(np.array([1.0, 2.0, 3.0])).ticks == [1, 2, 3]
    assert across(np.array([4.0])).ticks == [4]
    assert across(np.array([])).ticks == []


def test_only_a_project_with_a_series_has_a_chart(tmp_path: Path) -> None:
    with spool_of(tmp_path, *many(3)) as spool:
        assert list(wound_chart(spool)) == []
    rows = block([(1, "a.png", 40.0, None), (2, "b.png", None, "no size")], SERIES)
    with spool_of(tmp_path, rows, tables=(OBJECTS, SERIES)) as spool:
        (member,) = wound_chart(spool)
        assert (member.path, member.media_type, member.compress) == (PATH, "image/png", False)
        assert content(member).startswith(b"\x89PNG")
