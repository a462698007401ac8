"""Names that users give: whatever they are, what is unpacked stays in its folder, and no file takes the place of another."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import unicodedata
import zipfile
from pathlib import Path

from conftest import write_tiny_project
from hypothesis import example, given, settings
from hypothesis import strategies as st

import exportd
from exportd.core.options import FORMAT_IDS, METRICS_IDS

DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
PLACES = ["../", "..\\", "/", "C:\\", ".", " ", "~", "$x", "-rf", "%2e"]
LETTERS = ["a", "A", "é", "e\u0301", "ß", "SS", "\u202e", "\0", ":", "*", "\n", "=1+1", '"', "<", "&", "\ud800"]
WORDS = ["con", "NUL", "com¹", "漢" * 90, "x" * 260, ".png", ".TIF", "_viz", " (2)"]
PIECES = st.sampled_from(PLACES + LETTERS + WORDS)
NAMES = st.lists(PIECES, max_size=6).map("".join)


def assert_safe(path: str) -> None:
    parts = path.split("/")
    assert all(part and part == part.strip().rstrip(".") for part in parts), path
    assert not any(set(part) & set('\0\\:*?"<>|\r\n') or DEVICES.match(part) for part in parts), path
    assert all(len(part.encode()) <= 255 for part in parts), path


@settings(max_examples=10)
@example(["a.png", "A.PNG", "a.tif"], "con", "=1+1", "spheroid")
@example(["=1+1", '"=1+1', "-1"], "'=1", "'=1", "spheroid")
@example(["con.png", "e\u0301.png", "é.tif"], "../../title", '"', "wound")
@example(["../../out.png", "..\\out.png", "/out.png"], "\0", "</x>", "microtubules")
@given(st.lists(NAMES, min_size=3, max_size=3), NAMES, NAMES, st.sampled_from(["spheroid", "wound", "microtubules"]))
def test_no_name_leads_out_of_the_archive_or_hides_another(names: list[str], title: str, label: str, kind: str) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        project = write_tiny_project(folder, 3, kind)
        made = json.loads(project.read_text())
        for image, name in zip(made["images"], names, strict=True):
            image["originalPath"], image["name"] = image["name"], name or "x"
            for polygon in image["segmentation"]["polygons"]:
                polygon |= {"id": label, "instanceId": label, "name": label, "trackId": label}
        project.write_text(json.dumps(made | {"title": title or "x"}))
        exportd.export(project, folder / "made.zip", formats=FORMAT_IDS, metrics=METRICS_IDS, visualizations=True)
        check(folder / "made.zip", folder / "out")
        assert exportd.verify(folder / "made.zip").whole
    finally:
        shutil.rmtree(folder)


def check(archive: Path, out: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.namelist()
        assert len([name for name in members if name.startswith("images/")]) == 3
        seen = {unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()) for name in members}
        assert len(seen) == len(members), "two would be one where it is unpacked"
        for info in file.infolist():
            assert_safe(info.filename)
            assert info.external_attr >> 28 in {0, 8}, "no links, no devices"
        file.extractall(out)
        assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == set(members)
