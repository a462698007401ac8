"""Archives are read back by other programs, byte for byte, and are the same every time."""

import hashlib
import io
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exportd.errors import SourceChanged, SourceError
from exportd.formats import zipping
from exportd.formats.member import Member, Tick
from exportd.formats.zipping import DEFLATED, PIECE, STORED, Entry, directory, entry
from exportd.formats.zipping import packed as inner

DESCRIPTOR = 1 << 3
NOISE = os.urandom(3 << 20)


def packed(member: Member) -> tuple[list[Any], Entry]:
    """All values of an entry's generator, and what it returns."""
    body = entry(member)
    values = []
    while True:
        try:
            values.append(next(body))
        except StopIteration as stop:
            return values, stop.value


def archive(members: list[Member]) -> bytes:
    out = bytearray()
    entries = []
    for member in members:
        offset = len(out)
        values, done = packed(member)
        out += b"".join(v for v in values if isinstance(v, bytes))
        entries.append((done, offset))
    return bytes(out) + b"".join(directory(entries, len(out)))


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(zipping, "ENTRY_BUFFER", 1000)
    return 1000


def test_a_small_member_has_sizes_and_crc_in_its_header_and_no_descriptor() -> None:
    values, done = packed(Member("a.txt", [b"hello ", b"world"], media_type="text/plain", original_name="b.txt"))
    data = b"".join(values)
    flags, method, time, date, crc, compressed, size = struct.unpack_from("<4H3L", data, 6)
    assert (flags, method, time, date) == (1 << 11, DEFLATED, 0, 0x21)
    assert (crc, size) == (zlib.crc32(b"hello world"), 11) == (done.crc, done.size)
    assert compressed == done.compressed == len(data) - 30 - len("a.txt")
    assert done.sha256 == hashlib.sha256(b"hello world").hexdigest()
    assert (done.media_type, done.original_name, done.zip64) == ("text/plain", "b.txt", False)


def test_what_is_not_to_be_compressed_is_stored_as_it_is() -> None:
    data = archive([Member("i.png", [NOISE], compress=False)])
    assert NOISE in data
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.getinfo("i.png").compress_type == STORED


def test_names_times_and_modes_are_the_same_whenever_and_wherever_it_is_written() -> None:
    name = "images/Příliš žluťoučký 細胞.png"
    with zipfile.ZipFile(io.BytesIO(archive([Member(name, [b"x"])]))) as file:
        (info,) = file.infolist()
    assert info.filename == name
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert info.external_attr >> 16 == 0o100644
    assert info.create_system == 3
    assert info.flag_bits & 1 << 11


@pytest.mark.parametrize("size", [None, 3 << 20])
@pytest.mark.parametrize("compress", [False, True])
def test_a_large_member_is_streamed_and_read_back(small_buffer: int, size: int | None, compress: bool) -> None:
    chunks = (NOISE[i : i + 70_000] for i in range(0, len(NOISE), 70_000))
    values, done = packed(Member("n", chunks, compress=compress, size=size))
    assert done.flags & DESCRIPTOR
    assert done.zip64 is (size is None), "nobody knows whether it will fit, so its fields are wide"
    body = b"".join(values)
    data = body + b"".join(directory([(done, 0)], len(body)))
    assert unpacked(data) == {"n": NOISE}
    assert all(len(v) <= PIECE for v in values)


def test_a_descriptor_is_as_wide_as_the_header_says(small_buffer: int) -> None:
    for size, form in ((None, "<4sLQQ"), (len(NOISE), "<4sLLL")):
        values, done = packed(Member("n", [NOISE], compress=False, size=size))
        assert struct.unpack(form, values[-1]) == (b"PK\7\10", done.crc, len(NOISE), len(NOISE))


@settings(max_examples=60)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 40), st.integers(950, 1050)), max_size=6),
    compress=st.booleans(),
    known=st.booleans(),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
)
def test_any_cut_of_any_member_gives_the_same_file(
    sizes: list[int], compress: bool, known: bool, kind: type[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipping, "ENTRY_BUFFER", 1000)
        parts = [NOISE[begin : begin + size] for begin, size in enumerate(sizes)]
        whole = b"".join(parts)
        member = Member("m", [kind(p) for p in parts], compress=compress, size=len(whole) if known else None)
        data = archive([member, Member("after", [b"last"])])
        assert unpacked(data) == {"m": whole, "after": b"last"}
        again = Member("m", [whole], compress=compress, size=len(whole) if known else None)
        if compress or len(whole) <= 1000:
            assert archive([again, Member("after", [b"last"])]) == data


def test_what_is_no_bytes_passes_at_its_place_and_unchanged() -> None:
    note = object()
    chunks: list[Any] = [Tick("a"), b"1", note, b"2", Tick("b")]
    values, done = packed(Member("m", chunks))
    assert [v for v in values if not isinstance(v, bytes)] == [Tick("a"), note, Tick("b")]
    assert done.size == 2


def test_a_cancel_is_looked_for_often_even_when_nothing_comes_out() -> None:
    steps = 0
    for value in entry(Member("zeros", [bytes(8 << 20)])):
        steps += isinstance(value, bytes)
    assert steps >= 8 << 20 >> 18


def test_closing_early_closes_the_chunks() -> None:
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield NOISE
        finally:
            closed.append(True)

    body = entry(Member("m", chunks(), compress=False))
    next(body)
    assert not closed
    body.close()
    assert closed == [True]


def test_what_is_no_generator_and_can_be_closed_is_closed() -> None:
    chunks = io.BytesIO(b"a\nb\n")
    assert packed(Member("a.txt", chunks))[1].size == 4
    assert chunks.closed


def test_a_source_that_fails_is_closed_and_its_error_travels() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise SourceError("gone")

    with pytest.raises(SourceError, match="gone"):
        packed(Member("m", chunks()))


def test_a_member_that_outgrows_the_32_bit_form_is_an_error(small_buffer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipping, "_MAX32", 5000)
    with pytest.raises(SourceChanged) as caught:
        packed(Member("m", [NOISE], compress=False, size=900, source_image_id="i"))
    assert caught.value.image_id == "i"
    with pytest.raises(SourceError, match="m: it grew"):
        packed(Member("m", [NOISE], compress=False, size=900))


def test_known_to_be_larger_than_4_gib_means_zip64(small_buffer: int) -> None:
    values, done = packed(Member("m", [NOISE], compress=False, size=zipping.ZIP32_LIMIT))
    assert done.zip64
    body = b"".join(values)
    assert unpacked(body + b"".join(directory([(done, 0)], len(body)))) == {"m": NOISE}


def test_zip64_numbers_of_the_directory_are_read_as_they_were_written() -> None:
    _, small = packed(Member("a", [b"1"]))
    huge = Entry(
        "b", 1, 5 << 30, 6 << 30, "", STORED, 0, zip64=True, media_type="", source_image_id=None, original_name=None
    )
    start = 11 << 30
    parts = b"".join(directory([(small, 7), (huge, 5 << 30)], start))

    class Sparse(io.RawIOBase):
        """A file of which all before the directory is a hole."""

        def __init__(self) -> None:
            self.at = 0

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset + (0, self.at, start + len(parts))[whence]
            return self.at

        def tell(self) -> int:
            return self.at

        def read(self, size: int = -1) -> bytes:
            begin = self.at - start
            data = parts[begin : None if size < 0 else begin + size]
            self.at += len(data)
            return data

    with zipfile.ZipFile(Sparse()) as file:
        first, second = file.infolist()
    assert (first.header_offset, first.file_size) == (7, 1)
    assert (second.header_offset, second.compress_size, second.file_size) == (5 << 30, 5 << 30, 6 << 30)


def test_more_members_than_16_bits_can_count() -> None:
    data = archive([Member(f"{i}", [b""], compress=False) for i in range(65_600)])
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert len(file.namelist()) == 65_600
        assert file.read("65599") == b""
    assert b"PK\6\6" in data
    assert b"PK\6\6" not in archive([Member(f"{i}", [b""]) for i in range(10)])


def test_an_empty_archive_is_one() -> None:
    assert unpacked(archive([])) == {}


@pytest.mark.parametrize("path", ["", "x" * 70_000])
def test_a_path_that_no_zip_can_hold_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        packed(Member(path, [b"x"]))


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs Info-ZIP's unzip")
def test_unzip_finds_no_fault_in_any_form(small_buffer: int, tmp_path: Path) -> None:
    members = [
        Member("small.txt", [b"text"]),
        Member("stored-known", [NOISE], compress=False, size=len(NOISE)),
        Member("stored-unknown", [NOISE], compress=False),
        Member("deflated-known", [NOISE], size=len(NOISE)),
        Member("deflated-unknown", [NOISE]),
        Member("empty", []),
    ]
    path = tmp_path / "a.zip"
    path.write_bytes(archive(members))
    done = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@given(st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=4), st.integers(1, 9))
def test_an_archive_within_the_archive_is_read_back(parts: list[list[bytes]], level: int) -> None:
    pieces = list(inner([Member(f"xl/{n}.xml", chunks, size=0) for n, chunks in enumerate(parts)], level))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as found:
        assert found.testzip() is None
        assert found.namelist() == [f"xl/{n}.xml" for n in range(len(parts))]
        assert [found.read(name) for name in found.namelist()] == [b"".join(chunks) for chunks in parts]
    assert pieces.count(b"") >= len(parts), "a cancel is looked for after each of its members"


def test_closing_an_archive_within_the_archive_closes_the_member_that_is_being_read(small_buffer: int) -> None:
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield NOISE
        finally:
            closed.append(True)

    with closing(inner([Member("m", chunks(), compress=False)])) as pieces:
        next(pieces)
    assert closed
