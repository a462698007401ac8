"""Names: safe on every file system, unique by stem whatever the case, and no name costs the others."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportd.core.dataset import Image
from exportd.formats.naming import archive_names, safe_file_name

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
INVISIBLE = {"Cc", "Cf", "Cs"}
names = st.text(max_size=300) | st.sampled_from(
    ["a.png", "A.PNG", "a (2).png", "a.tif", "con", "NUL.txt", "..", "", "x/y\\z.png", "é.png", "e\u0301.png", "ß.png",
     "SS.png", ".png", "a.my-ext", "a", "细胞" * 120 + ".tiff", "a.", "a .png"]
)  # fmt: skip


def stem(name: str) -> str:
    return Image("i", name, name, None, None, "image/png", None).stem


def check_safe(name: str) -> None:
    assert name
    assert len(name.encode()) <= 255
    assert not set(name) & set('<>:"|?*/\\')
    assert not any(unicodedata.category(c) in INVISIBLE for c in name)
    assert unicodedata.is_normalized("NFC", name)
    assert name == name.strip()
    assert not name.endswith(".")
    assert name.partition(".")[0].strip().lower() not in RESERVED


@given(st.lists(names, max_size=12))
def test_names_are_safe_and_stay_apart_by_stem(originals: list[str]) -> None:
    found = archive_names(originals)
    assert len(found) == len(originals)
    stems = [unicodedata.normalize("NFC", stem(name).casefold()) for name in found]
    assert len(set(stems)) == len(stems)
    for name in found:
        check_safe(name)
        check_safe(f"{stem(name)}_viz.png")
        check_safe(f"{stem(name)}.txt")
    assert archive_names(originals) == found


@pytest.mark.parametrize(
    ("originals", "found"),
    [
        (["a.png", "a.png", "a.tif"], ["a.png", "a (2).png", "a (3).tif"]),
        (["a.png", "A.png"], ["a.png", "A (2).png"]),
        (["a.png", "a (2).png", "a.png"], ["a.png", "a (2).png", "a (3).png"]),
        (["../../etc/passwd", "C:\\x\\y.png"], ["passwd", "y.png"]),
        (["CON.png", "com1", "console.png"], ["_CON.png", "_com1", "console.png"]),
        (["", "...", "\u200b"], ["image", "image (2)", "image (3)"]),
        (["Žluťoučký kůň č.1.png", "细胞 😀.tif"], ["Žluťoučký kůň č.1.png", "细胞 😀.tif"]),
        ([".\xa0", "a.png\u3000", "b\xa0.png", "\u2003"], ["image", "a.png", "b.png", "image (2)"]),
        (["a\u202egnp.exe"], ["agnp.exe"]),
        (["e\u0301.png", "é.png"], ["é.png", "é (2).png"]),
    ],
)
def test_names_that_a_person_expects(originals: list[str], found: list[str]) -> None:
    assert archive_names(originals) == found


def test_a_long_name_is_cut_between_characters_and_keeps_its_extension() -> None:
    one, two = archive_names(["细" * 200 + ".tiff"] * 2)
    assert one.endswith(".tiff")
    assert two.endswith(" (2).tiff")
    assert set(stem(one)) == {"细"}


@pytest.mark.parametrize("name", ["a.png", "x" * 400 + ".png"])
def test_a_hundred_thousand_equal_names_take_no_square_of_time(name: str) -> None:
    begin = time.process_time()
    found = archive_names([name] * 100_000)
    assert time.process_time() - begin < 10
    assert len(set(found)) == len(found)


@given(names)
def test_an_archive_has_a_name_whatever_its_project_is_called(title: str) -> None:
    name = safe_file_name(title, ".zip")
    check_safe(name)
    assert name.endswith(".zip")
    assert len(name) > len(".zip")


@pytest.mark.parametrize(
    ("title", "name"),
    [("Cells", "Cells.zip"), ("cells.zip", "cells.zip"), ("Cells.ZIP", "Cells.zip"), ("nul", "_nul.zip"), ("a/b", "a_b.zip")],
)  # fmt: skip
def test_an_archive_is_called_by_its_project(title: str, name: str) -> None:
    assert safe_file_name(title, ".zip") == name
