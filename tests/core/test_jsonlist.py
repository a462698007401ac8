"""A long list in pieces is the same as in one: told by the standard library's reader."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportd.core import jsonlist
from exportd.core.jsonlist import NoList, items


@pytest.fixture(autouse=True, scope="module")
def small_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonlist, "PIECE", 8)
        patch.setattr(jsonlist, "WINDOW", 16)
        yield


def read(text: str) -> list[Any] | None:
    try:
        return [item for piece in items(text) for item in piece]
    except NoList:
        return None


text = st.text(st.sampled_from('\\"[]{},: a1ä'), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(values, max_size=12), st.booleans(), st.sampled_from([None, 1]))
def test_every_item_comes_in_its_order(value: list[Any], ascii_only: bool, indent: int | None) -> None:
    assert read(json.dumps(value, ensure_ascii=ascii_only, indent=indent)) == value


@given(st.text(st.sampled_from('\\"[]{},: 1'), max_size=40))
def test_what_is_no_list_is_refused(body: str) -> None:
    for whole in (body, f"[{body}]", f'["{body}", 1, 2, 3]'):
        try:
            expected = json.loads(whole)
        except ValueError:
            expected = None
        assert read(whole) == (expected if isinstance(expected, list) else None)


def test_a_long_list_comes_in_pieces() -> None:
    pieces = list(items(json.dumps([{"a": [n, n]} for n in range(100)])))
    assert len(pieces) > 30
    assert [item["a"][0] for piece in pieces for item in piece] == list(range(100))


@pytest.mark.parametrize("end", [",]", "", "]]", "], [1]", ",,1]", "] x", ",\n]"])
def test_a_fault_at_the_end_is_found(end: str) -> None:
    assert read("[" + ", ".join(["[1, 2]"] * 50) + end) is None
