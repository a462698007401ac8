"""An archive of the real service is whole; each kind of damage is found, and named with its place."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import trio
from conftest import World

from exportd.core.options import ExportOptions, StartRequest
from exportd.core.states import State
from exportd.verifying.archive import Verdict, verify
from exportd.verifying.container import unsafe

COCO = "annotations/coco/annotations.json"
JSON = "annotations/json/segmentation_data.json"
Files = dict[str, bytes]
Change = Callable[[Files], object]


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives of one project: with everything, and with some of it."""
    from conftest import make_world

    folder = tmp_path_factory.mktemp("verify")
    world = make_world(folder / "data")
    orders = {
        "full": ExportOptions(
            include_original_images=True, annotation_formats=("coco", "yolo", "json"), include_documentation=True
        ),
        "coco": ExportOptions(annotation_formats=("coco",)),
        "coco and documents": ExportOptions(annotation_formats=("coco",), include_documentation=True),
        "yolo": ExportOptions(annotation_formats=("yolo",), include_original_images=True),
        "json": ExportOptions(annotation_formats=("json",)),
        "images": ExportOptions(include_original_images=True),
        "documents": ExportOptions(include_documentation=True),
    }
    return trio.run(_export, world, orders, folder)


async def _export(world: World, orders: dict[str, ExportOptions], folder: Path) -> dict[str, Path]:
    made = {}
    async with world.service() as service:
        for name, options in orders.items():
            job = await service.start(world.alice, world.project_id, StartRequest(options=options))
            job = await service._supervisor.wait_concluded(job.id)
            assert job.state is State.COMPLETED
            made[name] = folder / f"{name}.zip"
            with service._registry.reading(job.id, service._open) as download:
                made[name].write_bytes(os.pread(download.fd, download.size, 0))
    return made


def files_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, files: Files, *, sums: bool = False) -> Path:
    """An archive with these files; `sums` puts manifest and sums right again."""
    if sums:
        listed = {name: content for name, content in files.items() if name not in ("manifest.json", "SHA256SUMS")}
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in listed.items()}
        rows = [{"path": n, "size": len(c), "sha256": digests[n]} for n, c in listed.items()]
        files |= {"manifest.json": json.dumps({"version": 1, "members": rows}).encode()}
        files |= {"SHA256SUMS": "".join(f"{d}  {n}\n" for n, d in digests.items()).encode()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def told(verdict: Verdict) -> list[str]:
    return [f"{place}: {sentence}" for place, sentence in verdict.faults]


@pytest.mark.parametrize("name", ["full", "coco", "coco and documents", "yolo", "json", "images", "documents"])
def test_what_the_service_makes_is_whole(archives: dict[str, Path], name: str) -> None:
    verdict = verify(archives[name])
    assert told(verdict) == []
    assert verdict.whole
    assert verdict.members == len(files_of(archives[name]))


def test_it_says_what_was_checked(archives: dict[str, Path]) -> None:
    checks = "\n".join(verify(archives["full"]).checks)
    for place in ("manifest.json", "SHA256SUMS", "images/", "labels/", COCO, JSON, "documentation/metadata.json"):
        assert place in checks


# --- the ZIP and its papers ---------------------------------------------------------------------------------------------


def test_every_flipped_byte_of_a_member_is_found(archives: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(archives["full"]) as archive:
        infos = archive.infolist()
    for info in infos:
        damaged = tmp_path / "damaged.zip"
        shutil.copy(archives["full"], damaged)
        with damaged.open("r+b") as file:
            file.seek(info.header_offset + 30 + len(info.filename.encode()) + info.compress_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 0x55]))
        assert any(fault.startswith(f"{info.filename}: it is damaged") for fault in told(verify(damaged)))


def test_a_cut_archive_is_found(archives: dict[str, Path], tmp_path: Path) -> None:
    content = archives["full"].read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.zip").write_bytes(content[:length])
        assert told(verify(tmp_path / "cut.zip")) == ["cut.zip: this is no ZIP archive, or its end is missing"]


def test_a_zip_of_others_is_told_from_a_broken_archive(tmp_path: Path) -> None:
    verdict = verify(written(tmp_path / "x.zip", {"a.txt": b"a"}))
    assert told(verdict) == [
        "x.zip: this is a ZIP, but no archive of exportd: it has neither manifest.json nor SHA256SUMS"
    ]


PAPERS: list[tuple[str, Change, str]] = [
    (
        "a file removed",
        lambda f: f.pop("classes.txt"),
        "classes.txt: manifest.json lists it, but it is not in the archive",
    ),
    ("a file added", lambda f: f.update({"more.txt": b"x"}), "more.txt: SHA256SUMS does not list it"),
    (
        "a file renamed",
        lambda f: f.update({"Classes2.txt": f.pop("classes.txt")}),
        "Classes2.txt: manifest.json does not",
    ),
    (
        "a file changed",
        lambda f: f.update({"classes.txt": b"other"}),
        "classes.txt: its SHA-256 is not that of manifest",
    ),
    ("no manifest", lambda f: f.pop("manifest.json"), "manifest.json: it is missing"),
    ("no sums", lambda f: f.pop("SHA256SUMS"), "SHA256SUMS: it is missing"),
    ("no report", lambda f: f.pop("export_report.json"), "export_report.json: it is missing"),
    (
        "a sum of the manifest edited",
        lambda f: f.update({"manifest.json": f["manifest.json"].replace(b'"sha256":"', b'"sha256":"0', 1)}),
        "its SHA-256 is not that of manifest.json",
    ),
    (
        "a size of the manifest edited",
        lambda f: f.update({"manifest.json": f["manifest.json"].replace(b'"size":', b'"size":1', 1)}),
        "manifest.json says 1",
    ),
    (
        "no JSON",
        lambda f: f.update({"manifest.json": b'{"version":1,'}),
        "manifest.json: manifest.json is not the JSON",
    ),
    (
        "a new version",
        lambda f: f.update({"manifest.json": f["manifest.json"].replace(b'"version":1', b'"version":9')}),
        "manifest.json: its version is 9",
    ),
    ("a line of the sums is none", lambda f: f.update({"SHA256SUMS": b"hello\n"}), "SHA256SUMS: a line is no SHA-256"),
    (
        "the case of a name",
        lambda f: f.update({"CLASSES.txt": b"x"}),
        "CLASSES.txt: its name differs from classes.txt only in case",
    ),
    ("a name that leaves", lambda f: f.update({"../evil.txt": b"x"}), "../evil.txt: its name is unsafe"),
]


@pytest.mark.parametrize(("change", "fault"), [row[1:] for row in PAPERS], ids=[row[0] for row in PAPERS])
def test_papers_that_do_not_fit_are_found(
    archives: dict[str, Path], tmp_path: Path, change: Change, fault: str
) -> None:
    files = files_of(archives["full"])
    change(files)
    verdict = verify(written(tmp_path / "x.zip", files))
    assert any(fault in said for said in told(verdict)), told(verdict)


def test_two_members_of_one_name_are_found(archives: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    shutil.copy(archives["full"], path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("classes.txt", b"x")
    assert "classes.txt: its name is there twice: one would overwrite the other" in told(verify(path))


def test_a_member_that_declares_more_than_it_can_hold_is_not_read(archives: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "x.zip", files_of(archives["full"])).read_bytes())
    place = content.index(b"PK\1\2")
    struct.pack_into("<L", content, place + 24, 0xFFFFFFF0)
    (tmp_path / "x.zip").write_bytes(content)
    assert any("it declares 4294967280 bytes, more than" in said for said in told(verify(tmp_path / "x.zip")))


def test_members_that_share_their_bytes_are_found(archives: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "x.zip", files_of(archives["full"])).read_bytes())
    first = content.index(b"PK\1\2")
    second = content.index(b"PK\1\2", first + 4)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    (tmp_path / "x.zip").write_bytes(content)
    assert any("its bytes overlap those of" in said for said in told(verify(tmp_path / "x.zip")))


@pytest.mark.parametrize(
    "path",
    ["/a", "a//b", "../a", "a/../b", "a\\b", "c:a", "a\0b", "con", "a/NUL.txt", "a.", "a ", "x" * 300, "a/", "\x1b"],
)
def test_names_that_some_system_takes_amiss_are_unsafe(path: str) -> None:
    assert unsafe(path) is not None


@pytest.mark.parametrize("path", ["images/a (2).png", "labels/日本.txt", "images/console.png", "images/.png"])
def test_other_names_are_safe(path: str) -> None:
    assert unsafe(path) is None


# --- formats that differ, with sums put right ---------------------------------------------------------------------------


def edited(path: str, change: Callable[[dict[str, list[dict[str, object]]]], object]) -> Change:
    def apply(files: Files) -> None:
        document = json.loads(files[path])
        change(document)
        files[path] = json.dumps(document).encode()

    return apply


def shorter_label(files: Files) -> None:
    path = next(name for name, content in files.items() if name.startswith("labels/") and content)
    files[path] = b"".join(files[path].splitlines(keepends=True)[1:])


def broken_label(files: Files) -> None:
    path = next(name for name, content in files.items() if name.startswith("labels/") and content)
    files[path] += b"# a comment\n"


def missing_label(files: Files) -> None:
    files.pop(next(name for name in files if name.startswith("labels/")))


def missing_image(files: Files) -> None:
    files.pop(next(name for name in files if name.startswith("images/")))


def label_image(off: int) -> Change:
    """A label image for each image, with as many objects as there are, but for `off`."""

    def apply(files: Files) -> None:
        for image in json.loads(files[JSON])["images"]:
            values = np.zeros((64, 64), np.uint16)
            count = len(image["polygons"]) - off
            values.ravel()[:count] = np.arange(1, count + 1)
            file = io.BytesIO()
            tifffile.imwrite(file, values, rowsperstrip=8, compression="zlib")
            files[f"annotations/labels/{image['name'].rpartition('.')[0]}.tif"] = file.getvalue()

    return apply


def told_of(sentence: str, change: Change) -> Change:
    """A change that the report tells of."""

    def apply(files: Files) -> None:
        change(files)
        edited("export_report.json", lambda report: report["warnings"].append(sentence))(files)  # type: ignore[arg-type]

    return apply


DIFFERENCES: list[tuple[str, Change, str]] = [
    ("an annotation removed", edited(COCO, lambda d: d["annotations"].pop()), f"{COCO}: 1 object that {JSON} has"),
    ("an image of COCO renamed", edited(COCO, lambda d: d["images"][0].update(file_name="x.png")), f"{COCO}: it lacks"),
    ("an ending changed", edited(COCO, lambda d: d["images"][0].update(file_name="nuclei_001.tif")), "calls an image"),
    ("an unknown image", edited(COCO, lambda d: d["annotations"][0].update(image_id=99)), "are of image 99"),
    ("a polygon removed", edited(JSON, lambda d: d["images"][0]["polygons"].pop()), f"{COCO}: it has "),  # type: ignore[attr-defined]
    (
        "an image of JSON removed",
        edited(JSON, lambda d: d["images"].pop()),
        f"{JSON}: it lacks images that images/ has",
    ),
    ("a label line removed", shorter_label, f"labels/: 1 object that {JSON} has is not in it"),
    ("a line that is no label", broken_label, "is no class with a polygon in 0 to 1"),
    ("a label file removed", missing_label, "labels/: it lacks images that images/ has"),
    ("an image removed", missing_image, "images/: it lacks images"),
    ("label images lack objects", label_image(1), "annotations/labels/: 3 objects that"),
    ("label images are none", lambda f: f.update({"annotations/labels/a.tif": b"II*\0no"}), "it is no TIFF"),
    (
        "the report tells of more",
        told_of("COCO: 2 polygons are left out: nothing is left inside the image.", lambda _: None),
        f"{COCO}: the report tells of 2 objects left out, but 0 are missing",
    ),
]


@pytest.mark.parametrize(("change", "fault"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES])
def test_formats_that_differ_are_found_whatever_the_sums(
    archives: dict[str, Path], tmp_path: Path, change: Change, fault: str
) -> None:
    files = files_of(archives["full"])
    change(files)
    verdict = verify(written(tmp_path / "x.zip", files, sums=True))
    assert any(fault in said for said in told(verdict)), told(verdict)


AGREEING: list[tuple[str, Change]] = [
    ("nothing changed", lambda _: None),
    ("label images with all objects", label_image(0)),
    (
        "a loss that is told",
        told_of(
            "COCO: 1 polygon is left out: nothing is left inside the image.",
            edited(COCO, lambda d: d["annotations"].pop()),
        ),
    ),
    ("hidden objects that are told", told_of("Label images: 3 polygons have no pixel: they are ...", label_image(1))),
]


@pytest.mark.parametrize("change", [row[1] for row in AGREEING], ids=[row[0] for row in AGREEING])
def test_what_agrees_or_is_told_is_no_fault(archives: dict[str, Path], tmp_path: Path, change: Change) -> None:
    files = files_of(archives["full"])
    change(files)
    assert told(verify(written(tmp_path / "x.zip", files, sums=True))) == []


def test_the_documentation_knows_what_a_single_format_lacks(archives: dict[str, Path], tmp_path: Path) -> None:
    files = files_of(archives["coco and documents"])
    edited(COCO, lambda d: d["annotations"].pop())(files)
    (fault,) = told(verify(written(tmp_path / "x.zip", files, sums=True)))
    assert fault.startswith("documentation/metadata.json: it counts ")
