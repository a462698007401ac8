"""Readers of what strangers write, each as a function of bytes that raises when a promise is broken.

The tests give each of them its files in `tests/corpus`; `scripts/fuzz` looks for more. What is allowed is to refuse, by the
one error that stands for that.
"""

from __future__ import annotations

import io
import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from exportd import tokens
from exportd.core.options import parse_start
from exportd.core.polygons import parse_annotation
from exportd.core.users import User
from exportd.errors import ImportFailed, InvalidRequest, InvalidToken, Unauthenticated, UnreadableImage
from exportd.formats.naming import NAME_BYTES, archive_names, safe_file_name
from exportd.settings import Settings
from exportd.store.importers import Imported, import_coco, import_project
from exportd.store.jsonstream import walk_text
from exportd.store.pixels import decode
from exportd.web import downloads, exports, feed
from exportd.web.socketio import packets

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SHA256 = "ab" * 32
SECRET = b"0123456789abcdef" * 3
SETTINGS = Settings()
ALICE = User("alice", "alice@example.org")
PROJECT, JOB = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"

DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³")}
"""What Windows takes for a device, whatever its extension."""

_HEADERS = ("Range", "If-Range", "If-None-Match", "If-Modified-Since")


def ranges(data: bytes) -> None:
    """A size and the headers of a download, a line each: the answer is a part of the archive, or none of it."""
    number, *lines = data.decode("latin-1").split("\n")
    size = int(number) if number.isascii() and number.isdigit() and len(number) < 20 else 1000
    headers = {name: value for name, value in zip(_HEADERS, lines, strict=False) if value}
    planned = downloads.plan("GET", headers, size, SHA256, AT)
    assert planned.status in {200, 206, 304, 416}
    assert 0 <= planned.start <= planned.start + planned.length <= size
    assert all(value.isascii() and value.isprintable() for value in planned.headers.values())
    if planned.status in {200, 206}:
        assert planned.headers["Content-Length"] == str(planned.length)


def download_token(data: bytes) -> None:
    """What is not signed for this archive is nobody's; what is, is Alice's."""
    text = data.decode("latin-1")
    with suppress(InvalidToken):
        assert tokens.read_download_token(SECRET, text, PROJECT, JOB) == ALICE
    with suppress(Unauthenticated):
        raise AssertionError(f"it passes for a login: {tokens.read_token(SECRET, SETTINGS, text)}")


def event_id(data: bytes) -> None:
    """Last-Event-ID, ids in addresses, and the other small texts that come with a request."""
    text = data.decode("latin-1")
    found = feed.parse_event_id(text)
    assert found is None or exports.canonical_uuid(found[0]) == found[0]
    for read in (exports.parse_limit, exports.parse_offset, exports.parse_search, exports.idempotency_key):
        with suppress(InvalidRequest):
            read(text)


def command(data: bytes) -> None:
    """A message on /ws."""
    with suppress(feed.Refused):
        assert feed.parse(data).action in {"subscribe", "unsubscribe", "ping"}
    with suppress(feed.Refused):
        feed.parse(data.decode(errors="replace"))


def socketio(data: bytes) -> None:
    """The body of a post and a message of a WebSocket."""
    with suppress(packets.BadPacket):
        for packet in packets.read_payload(data):
            packets.read_message(packet.text)
    with suppress(packets.BadPacket):
        packets.read_message(packets.read_packet(data.decode(errors="replace")).text)


def order(data: bytes) -> None:
    """The body of a start."""
    with suppress(InvalidRequest):
        assert parse_start(data).options


def polygons(data: bytes) -> None:
    """The polygons text of an image: whatever it is, there is an annotation, numbered from 1."""
    found = parse_annotation(data, 100, 80)
    assert [polygon.number for polygon in found.polygons] == list(range(1, len(found.polygons) + 1))


def names(data: bytes) -> None:
    """Names of images, a line each, and of an archive: every file system takes them, and none takes two for one."""
    originals = data.decode(errors="surrogateescape").split("\n")
    made = archive_names(originals)
    assert len(made) == len(originals)
    assert len({unicodedata.normalize("NFC", name).casefold() for name in made}) == len(made)
    for name in (*made, safe_file_name(originals[0], ".zip")):
        assert 0 < len(name.encode()) <= NAME_BYTES
        assert not set(name) & set('\0/\\:*?"<>|\r\n')
        assert name == name.strip().rstrip(".")
        assert name.split(".")[0].rstrip().upper() not in DEVICES
    value = downloads.disposition(downloads.file_name(originals[0], "Title.zip"))
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2


def json_stream(data: bytes) -> None:
    """The reader of long JSON files."""
    with suppress(ImportFailed):
        list(walk_text(io.TextIOWrapper(io.BytesIO(data), "utf-8"), "file", {"images", "annotations"}, set(), 1 << 20))


def image(data: bytes) -> None:
    """Pixels of a file."""
    fd = os.memfd_create("image")
    try:
        os.write(fd, data)
        with suppress(UnreadableImage):
            assert decode(fd, lambda: None).size
    finally:
        os.close(fd)


_Importer = Callable[[Settings, Path, Path | None, str, str | None], Imported]


def importer(run: _Importer, data: bytes) -> None:
    """A whole import: of one that fails nothing is left, of one that succeeds a folder, and nothing beside it."""
    with _room() as (settings, file):
        file.write_bytes(data)
        before = set(settings.uploads_directory.iterdir())
        try:
            done = run(settings, file, None, "alice@example.org", None)
        except ImportFailed:
            assert set(settings.uploads_directory.iterdir()) == before
        else:
            assert set(settings.uploads_directory.iterdir()) - before == {settings.uploads_directory / done.project_id}
        assert sorted(path.name for path in file.parent.iterdir()) == ["a.png", "data", "file.json"]


@contextmanager
def _room() -> Iterator[tuple[Settings, Path]]:
    """Where imports go, and the file that is imported; an image lies beside it."""
    settings = Settings(data=_folder() / "data")
    settings.uploads_directory.mkdir(parents=True, exist_ok=True)
    (_folder() / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    yield settings, _folder() / "file.json"


@cache
def _folder() -> Path:
    return Path(_kept().name)


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own in it; no disk is waited for
    return tempfile.TemporaryDirectory(prefix="exportd-fuzz-", dir=memory if memory.is_dir() else None)


@dataclass(frozen=True)
class Target:
    """`run` is given bytes, of which `most` are enough."""

    run: Callable[[bytes], None]
    most: int = 4096


TARGETS = {
    "ranges": Target(ranges, 500),
    "download_token": Target(download_token, 1000),
    "event_id": Target(event_id, 300),
    "command": Target(command, 500),
    "socketio": Target(socketio, 1000),
    "order": Target(order, 2000),
    "polygons": Target(polygons, 2000),
    "names": Target(names, 1000),
    "json_stream": Target(json_stream, 1000),
    "image": Target(image),
    "project": Target(partial(importer, import_project), 2000),
    "coco": Target(partial(importer, import_coco), 2000),
}
