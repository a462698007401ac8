"""The responder against RFC 9110."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from growing import SQUARE, growth
from hypothesis import given
from hypothesis import strategies as st

from exportd.web.downloads import MAX_RANGES, Plan, disposition, file_name, matches_weakly, parse_range, plan

SIZE = 1000
SHA = hashlib.sha256(b"archive").hexdigest()
TAG = f'"{SHA}"'
AT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
DATE = "Sat, 31 Jan 2026 12:00:00 GMT"


def ask(method: str = "GET", size: int = SIZE, /, **headers: str) -> Plan:
    return plan(method, {k.replace("_", "-"): v for k, v in headers.items()}, size, SHA, AT)


def test_whole() -> None:
    p = ask()
    assert (p.status, p.start, p.length) == (200, 0, SIZE)
    assert p.headers["Content-Length"] == "1000"
    assert p.headers["Accept-Ranges"] == "bytes"
    assert p.headers["ETag"] == TAG
    assert p.headers["Last-Modified"] == DATE
    assert p.headers["Cache-Control"] == "no-store"
    assert p.headers["Repr-Digest"].startswith("sha-256=:")


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=100-", 100, 999),
        ("bytes=-5", 995, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=990-5000", 990, 999),
        (f"bytes=7-{10**30}", 7, 999),
        ("Bytes=0-4", 0, 4),
        ("bytes=0-4,2000-3000", 0, 4),
        ("bytes= , 0-4 ,", 0, 4),
    ],
)
def test_part(value: str, first: int, last: int) -> None:
    p = ask(Range=value)
    assert (p.status, p.start, p.length) == (206, first, last - first + 1)
    assert p.headers["Content-Range"] == f"bytes {first}-{last}/1000"
    assert p.headers["Content-Length"] == str(last - first + 1)
    assert p.headers["ETag"] == TAG


@pytest.mark.parametrize("value", ["bytes=1000-", "bytes=1001-1005", "bytes=-0", "bytes=2000-,-0", f"bytes={10**40}-"])
def test_past_the_end(value: str) -> None:
    p = ask(Range=value)
    assert (p.status, p.length) == (416, 0)
    assert p.headers["Content-Range"] == "bytes */1000"


@pytest.mark.parametrize(
    "value",
    ["items=0-4", "bytes", "bytes=", "bytes=a-b", "bytes=5-2", "bytes=--5", "bytes=-", "bytes=0-4;", "bytes=٣-٤",
     "bytes=0-4,x", "bytes=0-4,10-14", "bytes=" + ",".join(["0-"] * 500), ""],
)  # fmt: skip
def test_ignored(value: str) -> None:
    p = ask(Range=value)
    assert (p.status, p.start, p.length) == (200, 0, SIZE)


def test_empty_archive_has_no_part() -> None:
    assert ask("GET", 0, Range="bytes=0-").status == 416
    assert ask("GET", 0, Range="bytes=-5").status == 416
    assert ask("GET", 0).status == 200


def test_head_ignores_range() -> None:
    p = ask("HEAD", Range="bytes=0-4")
    assert (p.status, p.length, p.headers["Content-Length"]) == (200, 0, "1000")
    assert {**p.headers} == ask().headers


@pytest.mark.parametrize(
    ("value", "status"),
    [(TAG, 206), (f"W/{TAG}", 200), ('"0"', 200), ("junk", 200), ("", 200), (DATE, 206),
     ("Sat, 31 Jan 2026 12:00:01 GMT", 200), (f"Sat, 31 Jan {10**20} 12:00:00 GMT", 200)],
)  # fmt: skip
def test_if_range(value: str, status: int) -> None:
    assert ask(Range="bytes=0-4", If_Range=value).status == status


@pytest.mark.parametrize(
    ("value", "status"),
    [(TAG, 304), (f"W/{TAG}", 304), ("*", 304), (f'"x", {TAG}', 304), (f'"a,b",W/{TAG}', 304), ('"x"', 200),
     ("junk", 200), (SHA, 200)],
)  # fmt: skip
def test_if_none_match(value: str, status: int) -> None:
    for method in ("GET", "HEAD"):
        p = ask(method, If_None_Match=value)
        assert (p.status, p.headers["ETag"]) == (status, TAG)
        assert status != 304 or p.length == 0
    assert ask(If_None_Match=value, Range="bytes=0-4").status == (304 if status == 304 else 206)


@pytest.mark.parametrize(
    ("value", "status"),
    [(DATE, 304), ("Sat, 31 Jan 2026 12:00:01 GMT", 304), ("Sat, 31 Jan 2026 11:59:59 GMT", 200), ("junk", 200),
     ("Sat, 31 Jan 2026 12:00:00", 200), ("", 200), ("Sat, 31 Jan 99999 12:00:00 GMT", 200),
     (f"Sat, 31 Jan {10**20} 12:00:00 GMT", 200), (f"Sat, 31 Jan 2026 12:00:00 +{10**20}", 200)],
)  # fmt: skip
def test_if_modified_since(value: str, status: int) -> None:
    for method in ("GET", "HEAD"):
        assert ask(method, If_Modified_Since=value).status == status
    assert ask(If_Modified_Since=value, If_None_Match='"x"').status == 200, "the date counts only without a tag"


spec = st.one_of(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: f"{p[0]}-{p[1]}"),
    st.integers(0, 60).map(lambda n: f"{n}-"),
    st.integers(0, 60).map(lambda n: f"-{n}"),
)


@given(st.lists(spec, min_size=1, max_size=5), st.integers(0, 50))
def test_parts_are_within_the_archive(specs: list[str], size: int) -> None:
    found = parse_range("bytes=" + ",".join(specs), size)
    backwards = any(a and b and int(b) < int(a) for a, _, b in (s.partition("-") for s in specs))
    assert (found is None) == backwards
    assert all(0 <= first <= last < size for first, last in found or [])


@given(st.text(max_size=40), st.sampled_from(["", "bytes=", "bytes = "]))
def test_any_text_has_an_answer(text: str, unit: str) -> None:
    p = ask(Range=unit + text, If_None_Match=text)
    assert ask(If_Modified_Since=text).status in {200, 304}
    assert p.status in {200, 206, 304, 416}
    assert 0 <= p.start <= p.start + p.length <= SIZE
    assert p.length == int(p.headers["Content-Length"]) if p.status in {200, 206} else p.length == 0


@pytest.mark.parametrize("piece", [" ", "\t", '"', 'W/"', '"x" ', '"x",', ", "])
def test_tags_of_any_length_are_read_in_no_time(piece: str) -> None:
    assert growth(lambda size: matches_weakly(f"a{piece * size}b", TAG), 500) < SQUARE


def test_too_many_ranges_are_ignored() -> None:
    assert parse_range("bytes=" + ",".join(["0-0"] * MAX_RANGES), 10) is not None
    assert parse_range("bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)), 10) is None


@given(st.text(max_size=400))
def test_disposition_cannot_be_broken_out_of(name: str) -> None:
    made = file_name(name, "Title.zip")
    value = disposition(made)
    assert made.endswith(".zip")
    assert len(made.encode()) <= 255
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2
    assert not set('\\/:*?"<>|\r\n') & set(made)


def test_name_asked_for_wins() -> None:
    assert file_name("Ergebnis.zip", "Title.zip") == "Ergebnis.zip"
    assert file_name("Ergebnis", "Title.zip") == "Ergebnis.zip"
    assert file_name(None, "Title.zip") == file_name(" . ", "Title.zip") == "Title.zip"
