"""Images are read from inside the uploads directory only, and a bad file is told from a good one."""

import errno
import os
import resource
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from exportd.errors import SourceError, UnreadableImage
from exportd.store.sources import Uploads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "uploads"
    (root / "p").mkdir(parents=True)
    return root


@pytest.fixture
def uploads(root: Path) -> Uploads:
    return Uploads(root)


def draw(path: Path, size: tuple[int, int] = (60, 40)) -> Path:
    Image.effect_noise(size, 60).save(path)
    return path


def read(uploads: Uploads, path: str) -> bytes:
    fd = uploads.open(path)
    with os.fdopen(fd, "rb") as file:
        return file.read()


def descriptors() -> set[int]:
    found = set()
    for fd in range(256):
        with suppress(OSError):
            os.fstat(fd)
            found.add(fd)
    return found


def test_a_stored_path_is_relative_to_the_root(root: Path, uploads: Uploads) -> None:
    (root / "p/a.png").write_bytes(b"A")
    assert read(uploads, "p/a.png") == b"A"
    assert read(uploads, "p/./../p/a.png") == b"A", "dots are fine as long as they end inside"


@pytest.mark.parametrize("stored", ["/p/a.png", "uploads/p/a.png", "/uploads/p/a.png"])
def test_the_platforms_other_ways_to_store_it_are_understood(root: Path, uploads: Uploads, stored: str) -> None:
    (root / "p/a.png").write_bytes(b"A")
    assert read(uploads, stored) == b"A"


def test_a_folder_that_is_called_uploads_comes_first(root: Path, uploads: Uploads) -> None:
    (root / "uploads/p").mkdir(parents=True)
    (root / "p/a.png").write_bytes(b"outer")
    (root / "uploads/p/a.png").write_bytes(b"inner")
    assert read(uploads, "uploads/p/a.png") == b"inner"


@pytest.mark.parametrize(
    "stored", ["../secret", "p/../../secret", "../uploads-evil/secret", "..", "p/link", "p/far/secret"]
)
def test_nothing_outside_is_opened(root: Path, uploads: Uploads, stored: str) -> None:
    evil = root.parent / "uploads-evil"
    evil.mkdir()
    for folder in (root.parent, evil):
        (folder / "secret").write_text("secret")
    (root / "p/link").symlink_to(root.parent / "secret")
    (root / "p/far").symlink_to(evil)
    with pytest.raises(UnreadableImage, match="leads out") as caught:
        uploads.open(stored)
    assert not caught.value.missing
    assert str(root) not in caught.value.reason


def test_links_that_end_inside_may_be_used(root: Path) -> None:
    (root / "p/a.png").write_bytes(b"A")
    (root / "q").symlink_to(root / "p")
    (root / "p/b.png").symlink_to("a.png")
    (root.parent / "alias").symlink_to(root)
    assert read(Uploads(root.parent / "alias"), "q/b.png") == b"A"


def test_a_link_that_is_put_in_between_is_not_followed(
    root: Path, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(b"secret")
    (root / "p/a.png").write_bytes(b"A")
    resolve: Callable[[str], str] = os.path.realpath

    def swap(path: str) -> str:
        found = resolve(path)
        (root / "p").rename(root / "old")
        (root / "p").symlink_to(outside)
        return found

    monkeypatch.setattr("exportd.store.sources.os.path.realpath", swap)
    with pytest.raises(UnreadableImage):
        uploads.open("p/a.png")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "socket"])
def test_a_file_that_is_swapped_after_the_look_is_not_opened_for_it(
    root: Path, uploads: Uploads, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (root.parent / "secret").write_bytes(b"secret")
    (root / "p/a.png").write_bytes(b"A")
    resolve: Callable[[str], str] = os.path.realpath

    def swap(path: str) -> str:
        found = resolve(path)
        (root / "p/a.png").unlink()
        put(kind, root / "p/a.png", root.parent / "secret")
        return found

    monkeypatch.setattr("exportd.store.sources.os.path.realpath", swap)
    before = descriptors()
    with pytest.raises(UnreadableImage):
        uploads.open("p/a.png")
    assert descriptors() == before


def put(kind: str, path: Path, target: Path) -> None:
    match kind:
        case "link":
            path.symlink_to(target)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.path.relpath(path))  # the whole path may be longer than an address can be
        case _:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: it never ends


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
def test_only_files_are_read(root: Path, uploads: Uploads, kind: str) -> None:
    try:
        put(kind, root / "p/a.png", root)
        open_it = os.open(root / "p/a.png", os.O_RDONLY | os.O_NONBLOCK) if kind == "device" else None
    except PermissionError:
        pytest.skip("devices are made by root, on a file system that has them")
    if open_it is not None:
        os.close(open_it)
    with pytest.raises(UnreadableImage, match="no file"):
        uploads.open("p/a.png")


@pytest.mark.parametrize("stored", ["", "p/a\0.png", "p/\ud800.png"])
def test_a_path_that_cannot_be_one_is_refused(uploads: Uploads, stored: str) -> None:
    with pytest.raises(UnreadableImage, match="no usable path"):
        uploads.open(stored)


@pytest.mark.parametrize("stored", ["p/none.png", "none/none.png", "/etc/passwd"])
def test_a_missing_file_is_told_as_that(uploads: Uploads, stored: str) -> None:
    with pytest.raises(UnreadableImage, match="missing") as caught:
        uploads.open(stored)
    assert caught.value.missing
    assert isinstance(caught.value, SourceError)


def test_what_is_no_file_is_refused_without_waiting_for_it(root: Path, uploads: Uploads) -> None:
    os.mkfifo(root / "p/pipe")
    for stored in ("p", "p/pipe"):
        with pytest.raises(UnreadableImage, match="no file"):
            uploads.open(stored)


def test_no_descriptor_is_left_open_whatever_happens(root: Path, uploads: Uploads) -> None:
    draw(root / "p/a.png")
    os.mkfifo(root / "p/pipe")
    (root / "p/empty").touch()
    before = descriptors()
    uploads.probe("p/a.png", dimensions=True)
    for stored in ("p", "p/pipe", "p/none", "../x", "p/empty"):
        with pytest.raises(UnreadableImage):
            uploads.probe(stored, dimensions=True)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.png", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.bmp", "image/bmp"),
        ("a.tif", "image/tiff"),
        ("a.gif", "image/gif"),
        ("a.webp", "image/webp"),
        ("a.pgm", "image/x-portable-graymap"),
    ],
)
def test_a_good_image_is_told_by_its_bytes(root: Path, uploads: Uploads, name: str, media_type: str) -> None:
    path = draw(root / name)
    path.rename(root / "any.name")
    probe = uploads.probe("any.name", dimensions=True)
    assert (probe.size, probe.width, probe.height) == ((root / "any.name").stat().st_size, 60, 40)
    assert probe.media_type == media_type
    assert probe.warning is None
    assert uploads.probe("any.name").width is None, "not asked, not read"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_a_file_that_was_cut_gives_a_warning(root: Path, uploads: Uploads, name: str) -> None:
    path = draw(root / name)
    os.truncate(path, path.stat().st_size - 20)
    assert uploads.probe(name).warning == "the file looks truncated"


def test_a_tiff_that_was_cut_before_its_directory_gives_a_warning(root: Path, uploads: Uploads) -> None:
    (root / "a.tif").write_bytes(b"II*\0" + (5000).to_bytes(4, "little") + bytes(100))
    assert uploads.probe("a.tif").warning == "the file looks truncated"
    (root / "b.tif").write_bytes(b"MM\0+")
    assert uploads.probe("b.tif").warning == "the file looks truncated"


@pytest.mark.parametrize("content", [b"", b"this is text", b"\x89PNG\r\n\x1a\n"])
def test_no_image_is_no_image(root: Path, uploads: Uploads, content: bytes) -> None:
    (root / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImage):
        uploads.probe("a.png", dimensions=True)


def test_an_image_too_large_to_be_decoded_can_still_be_copied(root: Path, uploads: Uploads) -> None:
    data = bytearray(draw(root / "a.bmp").read_bytes())
    data[18:26] = (100_000).to_bytes(4, "little") * 2
    (root / "a.bmp").write_bytes(data)
    probe = uploads.probe("a.bmp", dimensions=True)
    assert (probe.width, probe.media_type) == (None, "image/bmp")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told_as_that(root: Path, uploads: Uploads) -> None:
    draw(root / "a.png").chmod(0)
    with pytest.raises(UnreadableImage, match="may not read"):
        uploads.open("a.png")


def test_a_service_without_descriptors_does_not_blame_the_image(root: Path, uploads: Uploads) -> None:
    draw(root / "p/a.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            uploads.probe("p/a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
