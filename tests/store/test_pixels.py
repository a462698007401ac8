"""Every kind of image comes back as it was written; bad ones are refused with a sentence, and a stop is heard.

Written by Pillow 12.3.0, tifffile 2026.3.3, opencv 4.14.0 and by hand.
"""

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from exportd.core.dataset import Pixels
from exportd.errors import UnreadableImage
from exportd.store.pixels import decode
from exportd.store.sources import Uploads

Array = NDArray[Any]
random = np.random.default_rng(1)


def noise(*shape: int, dtype: Any = np.uint8) -> Array:
    if np.dtype(dtype).kind == "f":
        return random.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


GREY, RGB, RGBA, GREY_ALPHA = noise(37, 53), noise(37, 53, 3), noise(37, 53, 4), noise(37, 53, 2)
DEEP, DEEP_RGB, DEEP_RGBA = (noise(37, 53, *more, dtype=np.uint16) for more in ((), (3,), (4,)))
BITS = GREY > 128
SMOOTH = np.asarray(Image.fromarray(noise(64, 96, 3)).filter(ImageFilter.GaussianBlur(6)))


def pillow(image: Array | Image.Image, kind: str, **options: Any) -> bytes:
    body = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(body, kind, **options)
    return body.getvalue()


def tiff(image: Array, **options: Any) -> bytes:
    body = io.BytesIO()
    tifffile.imwrite(body, image, **options)
    return body.getvalue()


def opencv(image: Array, extension: str) -> bytes:
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(image.shape[-1] if image.ndim == 3 else 1)
    done, body = cv2.imencode(extension, image if order is None else np.ascontiguousarray(image[..., order]))
    assert done
    return body.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(image: Array, bits: int, colour: int, *between: bytes) -> bytes:
    """Written by hand, without filters: what no library at hand writes. `image` has a row of packed bytes per row."""
    rows, width = len(image), image.shape[1] * 8 // bits // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    body = b"".join(b"\0" + row.tobytes() for row in image)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">LL5B", width, rows, bits, colour, 0, 0, 0)),
            *between,
            chunk(b"IDAT", zlib.compress(body)),
            chunk(b"IEND", b""),
        ]
    )


def indexed(table: Array) -> Image.Image:
    image = Image.fromarray(GREY % len(table)).convert("L")
    image.putpalette(table[:, :3].tobytes())
    return image


def read(body: bytes, check: Callable[[], None] = lambda: None) -> Pixels:
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        return decode(file.fileno(), check)


TABLE = noise(16, 4)
LOSSLESS: dict[str, tuple[bytes, Array]] = {
    "png grey": (pillow(GREY, "PNG"), GREY),
    "png rgb": (pillow(RGB, "PNG"), RGB),
    "png rgba": (pillow(RGBA, "PNG"), RGBA),
    "png grey alpha": (pillow(GREY_ALPHA, "PNG"), GREY_ALPHA),
    "png 1 bit": (pillow(Image.fromarray(BITS), "PNG"), BITS),
    "png 2 bit": (png(GREY, 2, 0), (GREY[..., None] >> np.array([6, 4, 2, 0], np.uint8) & 3).reshape(37, -1) * 85),
    "png 4 bit": (png(GREY, 4, 0), (GREY[..., None] >> np.array([4, 0], np.uint8) & 15).reshape(37, -1) * 17),
    "png 16 bit": (opencv(DEEP, ".png"), DEEP),
    "png 16 bit rgb": (opencv(DEEP_RGB, ".png"), DEEP_RGB),
    "png 16 bit rgba": (opencv(DEEP_RGBA, ".png"), DEEP_RGBA),
    "png 16 bit grey alpha": (
        png(DEEP.astype(">u2").view(np.uint8).reshape(37, -1)[:, :104], 16, 4),
        DEEP[:, :52].reshape(37, 26, 2),
    ),
    "png palette": (pillow(indexed(TABLE), "PNG"), TABLE[GREY % 16][..., :3]),
    "png palette with alpha": (pillow(indexed(TABLE), "PNG", transparency=TABLE[:, 3].tobytes()), TABLE[GREY % 16]),
    "png palette with a transparent entry": (
        pillow(indexed(TABLE), "PNG", transparency=3),
        np.dstack([TABLE[GREY % 16][..., :3], np.where(GREY % 16 == 3, 0, 255)]),
    ),
    "bmp grey": (pillow(GREY, "BMP"), GREY),
    "bmp rgb": (pillow(RGB, "BMP"), RGB),
    "bmp rgba": (opencv(RGBA, ".bmp"), RGBA),
    "bmp 1 bit": (pillow(Image.fromarray(BITS), "BMP"), BITS),
    "bmp palette": (pillow(indexed(TABLE), "BMP"), TABLE[GREY % 16][..., :3]),
    "gif": (pillow(indexed(TABLE), "GIF"), TABLE[GREY % 16][..., :3]),
    "gif frames": (
        pillow(indexed(TABLE), "GIF", save_all=True, append_images=[indexed(TABLE[::-1])]),
        TABLE[GREY % 16][..., :3],
    ),
    "gif transparent": (
        pillow(indexed(TABLE), "GIF", transparency=3),
        np.dstack([TABLE[GREY % 16][..., :3], np.where(GREY % 16 == 3, 0, 255)]),
    ),
    "webp rgb": (pillow(RGB, "WEBP", lossless=True), RGB),
    "webp rgba": (pillow(RGBA, "WEBP", lossless=True, exact=True), RGBA),
    "pgm 16 bit": (opencv(DEEP, ".pgm"), DEEP.astype(np.int32)),
    "tiff grey": (tiff(GREY), GREY),
    "tiff rgb": (tiff(RGB, photometric="rgb"), RGB),
    "tiff rgba": (tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]), RGBA),
    "tiff rgb with something else": (tiff(RGBA, photometric="rgb", extrasamples=["unspecified"]), RGBA[..., :3]),
    "tiff grey alpha": (
        tiff(GREY_ALPHA, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]),
        GREY_ALPHA,
    ),
    "tiff channels": (
        tiff(noise(37, 53, 5) * 0 + GREY[..., None], photometric="minisblack", planarconfig="contig"),
        GREY,
    ),
    "tiff 1 bit": (tiff(BITS, photometric="minisblack"), BITS),
    "tiff 1 bit fax": (pillow(Image.fromarray(BITS), "TIFF", compression="group4"), BITS),
    "tiff white is 0": (tiff(GREY, photometric="miniswhite"), 255 - GREY),
    "tiff white is 0, 16 bit": (tiff(DEEP, photometric="miniswhite"), 65535 - DEEP),
    "tiff white is 0, 1 bit": (tiff(BITS, photometric="miniswhite"), ~BITS),
    "tiff 12 bit": (tiff(DEEP >> 4, bitspersample=12), DEEP >> 4),
    "tiff 4 bit": (tiff(GREY >> 4, bitspersample=4), (GREY >> 4) * 17),
    "tiff pages": (tiff(noise(3, 37, 53) * 0 + GREY, photometric="minisblack"), GREY),
    "tiff planes": (tiff(np.stack([GREY, GREY[::-1]]), photometric="minisblack", planarconfig="separate"), GREY),
    "tiff separate": (tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"), RGB),
    "tiff separate tiles": (
        tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate", tile=(16, 32), compression="zlib"),
        RGB,
    ),
    "tiff volume": (tiff(np.stack([GREY, GREY[::-1]]), volumetric=True, tile=(16, 16, 16)), GREY),
    "imagej hyperstack": (tiff(np.stack([[DEEP, DEEP[::-1]]] * 3), imagej=True, metadata={"axes": "ZCYX"}), DEEP),
    "ome hyperstack": (tiff(np.stack([[DEEP, DEEP[::-1]]] * 3), ome=True, metadata={"axes": "ZCYX"}), DEEP),
    "tiff cmyk without black": (tiff(np.dstack([RGB, 0 * GREY]), photometric="separated"), 255 - RGB),
}
for kind in ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"):
    for order in "<>":
        there = noise(37, 53, dtype=kind)
        LOSSLESS[f"tiff {order}{kind}"] = (tiff(there, byteorder=order, bigtiff=order == "<"), there)
for codec in ("lzw", "zlib", "packbits", "lzma", "zstd"):
    LOSSLESS[f"tiff {codec}"] = (tiff(DEEP_RGB, photometric="rgb", compression=codec, rowsperstrip=10), DEEP_RGB)
    LOSSLESS[f"tiff {codec} tiles"] = (tiff(DEEP, compression=codec, tile=(16, 32), byteorder=">"), DEEP)
    if codec != "packbits":
        LOSSLESS[f"tiff {codec} predicted"] = (
            tiff(DEEP_RGB, photometric="rgb", compression=codec, predictor=2, byteorder=">"),
            DEEP_RGB,
        )
        floats = noise(37, 53, dtype=np.float32)
        LOSSLESS[f"tiff {codec} predicted floats"] = (tiff(floats, compression=codec, predictor=3), floats)
LOSSLESS["tiff palette"] = (
    tiff(GREY % 16, photometric="palette", colormap=np.pad(TABLE[:, :3].T.astype(np.uint16) * 257, ((0, 0), (0, 240)))),
    TABLE[GREY % 16][..., :3],
)

each_kind = pytest.mark.parametrize("kind", LOSSLESS)


@each_kind
def test_what_was_written_comes_back(kind: str) -> None:
    body, expected = LOSSLESS[kind]
    found = read(body)
    assert found.dtype == expected.dtype or (kind.endswith("entry") or "transparent" in kind)
    assert found.shape == expected.shape
    assert (found == expected).all()


@each_kind
def test_a_probe_tells_the_size_of_what_is_decoded(kind: str, tmp_path: Path) -> None:
    body, expected = LOSSLESS[kind]
    (tmp_path / "a").write_bytes(body)
    probe = Uploads(tmp_path).probe("a", dimensions=True)
    assert (probe.height, probe.width) == expected.shape[:2]
    assert probe.media_type
    assert probe.warning is None


def test_an_interlaced_png_comes_back() -> None:
    # 1 x 1 pixels have one pass only, whatever the filter; larger ones are the library's own matter.
    body = png(DEEP_RGB[:1, :1].astype(">u2").view(np.uint8).reshape(1, 6), 16, 2)
    turned = bytearray(body)
    turned[28] = 1
    turned[29:33] = struct.pack(">L", zlib.crc32(turned[12:29]))
    assert (read(bytes(turned)) == DEEP_RGB[:1, :1]).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_jpegs_are_what_they_were_but_for_their_losses(options: dict[str, Any]) -> None:
    for image in (SMOOTH, SMOOTH[..., 0]):
        found = read(pillow(image, "JPEG", quality=95, **options))
        assert found.shape == image.shape
        assert np.abs(found.astype(int) - image).mean() < 3


def test_jpegs_of_four_inks_become_rgb() -> None:
    inks = Image.fromarray(SMOOTH).convert("CMYK")
    found = read(pillow(inks, "JPEG", quality=95))
    assert np.abs(found.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}, {"rowsperstrip": 16}])
def test_jpegs_in_a_tiff_become_rgb(options: dict[str, Any]) -> None:
    found = read(tiff(SMOOTH, photometric="rgb", compression="jpeg", compressionargs={"level": 95}, **options))
    assert found.shape == SMOOTH.shape
    assert np.abs(found.astype(int) - SMOOTH).mean() < 3


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pillow(SMOOTH, kind, **({"tiffinfo": exif} if kind == "TIFF" else {"exif": exif.tobytes()}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_an_orientation_is_not_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    body = turned(kind, orientation)
    assert np.abs(read(body).astype(int) - SMOOTH).mean() < 8
    (tmp_path / "a").write_bytes(body)
    probe = Uploads(tmp_path).probe("a", dimensions=True)
    assert (probe.width, probe.height) == (96, 64)


LARGE = np.tile(SMOOTH, (21, 17, 1))
"""1344 x 1632: several bands, several pieces."""

LARGE_DEEP = (LARGE[..., 0].astype(np.uint16) << 8) | LARGE[..., 1]
LARGE_FLOATS = LARGE_DEEP.astype(np.float32)
LARGE_BITS = np.tile(LARGE[..., 0] > 128, (4, 5))[:, :-3]
LARGE_KINDS: dict[str, Callable[[], tuple[bytes, Array]]] = {
    "png": lambda: (pillow(LARGE, "PNG", compress_level=1), LARGE),
    "png 16 bit rgb": lambda: (opencv(np.dstack([LARGE_DEEP] * 3), ".png"), np.dstack([LARGE_DEEP] * 3)),
    "bmp": lambda: (pillow(LARGE, "BMP"), LARGE),
    "gif": lambda: (pillow(Image.fromarray(LARGE[..., 0]), "GIF"), np.repeat(LARGE[..., :1], 3, axis=2)),
    "jpeg": lambda: (pillow(LARGE, "JPEG"), LARGE),
    "tiff": lambda: (tiff(LARGE_DEEP, byteorder=">"), LARGE_DEEP),
    "tiff rgb": lambda: (tiff(LARGE, photometric="rgb"), LARGE),
    "tiff separate": lambda: (tiff(np.moveaxis(LARGE, 2, 0), photometric="rgb", planarconfig="separate"), LARGE),
    "tiff 1 bit": lambda: (tiff(LARGE_BITS, photometric="minisblack"), LARGE_BITS),
    "tiff deflate": lambda: (
        tiff(LARGE_DEEP, compression="zlib", rowsperstrip=1344, predictor=2, byteorder=">"),
        LARGE_DEEP,
    ),
    "tiff deflate floats": lambda: (
        tiff(LARGE_FLOATS, compression="zlib", rowsperstrip=1000, predictor=3),
        LARGE_FLOATS,
    ),
    "tiff strips": lambda: (tiff(LARGE, photometric="rgb", compression="lzw", rowsperstrip=100), LARGE),
    "tiff tiles": lambda: (tiff(LARGE, photometric="rgb", compression="zlib", tile=(512, 512)), LARGE),
}
each_large = pytest.mark.parametrize("kind", LARGE_KINDS)


@cache
def large(kind: str) -> tuple[bytes, Array]:
    return LARGE_KINDS[kind]()


@each_large
def test_a_large_image_comes_back_and_listens_all_the_while(kind: str) -> None:
    body, expected = large(kind)
    heard: list[None] = []
    found = read(body, lambda: heard.append(None))
    assert found.shape == expected.shape
    if kind == "jpeg":
        assert np.abs(found.astype(int) - expected).mean() < 5
    else:
        assert found.dtype == expected.dtype
        assert (found == expected).all()
    assert len(heard) > 8


class Stopped(BaseException):
    """As trio's is none of `Exception`."""


ERRORS = (Stopped(), ValueError("mine"), OSError("mine"), UnreadableImage("mine"), SyntaxError(), MemoryError())


@each_large
def test_what_stops_it_passes_through(kind: str) -> None:
    body, _ = large(kind)
    heard: list[None] = []
    read(body, lambda: heard.append(None))
    looks = len(heard)
    for error, moment in zip(ERRORS, (1, 2, 5, looks // 3, 2 * looks // 3, looks), strict=True):
        left = iter([None] * (moment - 1))

        def stop(left: Iterator[None] = left, error: BaseException = error) -> None:
            if next(left, error) is error:
                raise error

        with pytest.raises(type(error)) as caught:
            read(body, stop)
        assert caught.value is error


def claims(kind: str, side: int) -> bytes:
    """A few bytes that claim to be a large image."""
    match kind:
        case "png":
            body = bytearray(pillow(GREY, "PNG"))
            body[16:24] = struct.pack(">LL", side, side)
            body[29:33] = struct.pack(">L", zlib.crc32(body[12:29]))
        case "jpeg":
            body = bytearray(pillow(GREY, "JPEG"))
            place = body.index(b"\xff\xc0") + 5
            body[place : place + 4] = struct.pack(">HH", side, side)
        case "bmp":
            body = bytearray(pillow(GREY, "BMP"))
            body[18:26] = struct.pack("<LL", side, side)
        case "gif":
            body = bytearray(pillow(GREY, "GIF"))
            body[6:10] = struct.pack("<HH", side, side)
        case "webp":
            frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
            body = bytearray(pillow(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:]))
            place = body.index(b"VP8X") + 12
            body[place : place + 6] = 2 * (side - 1).to_bytes(3, "little")
        case _:
            tiled = kind == "tiff tile"
            body = bytearray(tiff(GREY, metadata=None, **({"tile": (16, 16)} if tiled else {})))
            for tag in (322, 323) if tiled else (256, 257, 278):
                place = tag_place(body, tag)
                body[place : place + 12] = struct.pack("<HHLL", tag, 4, 1, side)
    return bytes(body)


def tag_place(body: bytearray, tag: int) -> int:
    (directory,) = struct.unpack_from("<L", body, 4)
    (count,) = struct.unpack_from("<H", body, directory)
    return next(
        p for p in range(directory + 2, directory + 2 + 12 * count, 12) if struct.unpack_from("<H", body, p)[0] == tag
    )


def test_a_webp_of_a_few_bytes_is_refused_although_it_is_sound() -> None:
    """36 bytes are 268 million pixels of one colour. All of them come in one step, which takes 4 GiB and half a minute."""
    body = bytearray(pillow(Image.new("RGB", (16, 16), "red"), "WEBP", lossless=True))
    place = body.index(b"VP8L") + 9
    body[place : place + 4] = struct.pack(
        "<L", int.from_bytes(body[place : place + 4], "little") >> 28 << 28 | 0xFFFBFFE
    )
    with pytest.raises(UnreadableImage, match="too large"):
        read(bytes(body))


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif", "webp", "tiff", "tiff tile"])
def test_a_few_bytes_that_claim_to_be_huge_are_refused(kind: str) -> None:
    with pytest.raises(UnreadableImage, match="too large"):
        read(claims(kind, 50_000))


def test_a_jpeg_in_a_tiff_may_not_be_larger_than_its_tile() -> None:
    body = bytearray(tiff(SMOOTH, photometric="rgb", compression="jpeg", tile=(32, 32)))
    place = body.index(b"\xff\xc0") + 5
    body[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(UnreadableImage):
        read(bytes(body))


@pytest.mark.parametrize(
    "kind", ["png rgb", "png 16 bit rgb", "gif", "bmp rgb", "tiff rgb", "tiff lzw", "tiff separate"]
)
def test_a_file_that_was_cut_off_is_told_as_that(kind: str) -> None:
    body, _ = LOSSLESS[kind]
    end = len(body) // 2
    if kind.startswith("tiff"):  # its directory is in front
        end = len(body) - 100
    with pytest.raises(UnreadableImage, match="cut off"):
        read(body[:end])


@pytest.mark.parametrize(
    "body", [b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n", bytes(1000), b"II*\0", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_told_as_that(body: bytes) -> None:
    with pytest.raises(UnreadableImage) as caught:
        read(body)
    assert caught.value.reason


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_descriptor_stays_the_callers_and_no_other_is_left(tmp_path: Path) -> None:
    bodies = [body for body, _ in LOSSLESS.values()]
    before = descriptors()
    for number, body in enumerate([*bodies, *(body[: len(body) // 2] for body in bodies)]):
        (tmp_path / "a").write_bytes(body)
        fd = os.open(tmp_path / "a", os.O_RDONLY)
        if number < len(bodies):
            first = decode(fd, lambda: None)
            assert (decode(fd, lambda: None) == first).all(), "wherever it was left"
        else:  # of a volume the first plane may still be there
            with suppress(UnreadableImage):
                decode(fd, lambda: None)
        os.fstat(fd)
        os.close(fd)
    assert descriptors() == before


JPEGS = {
    "jpeg": pillow(SMOOTH, "JPEG"),
    "jpeg progressive": pillow(SMOOTH, "JPEG", progressive=True),
    "jpeg with metadata": turned("JPEG", 6),
    "tiff with metadata": turned("TIFF", 6),
    "tiff jpeg": tiff(SMOOTH, photometric="rgb", compression="jpeg", tile=(32, 32)),
    "webp lossy": pillow(SMOOTH, "WEBP"),
}
ALL = {name: body for name, (body, _) in LOSSLESS.items()} | JPEGS


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(ALL)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.floats(0, 1)),
    st.booleans(),
)
def test_a_broken_file_is_read_or_refused_with_a_sentence(
    kind: str, flips: list[tuple[float, int]], cut: float | None, in_front: bool
) -> None:
    body = bytearray(ALL[kind])
    reach = min(len(body), 300) if in_front else len(body)
    for where, value in flips:
        body[int(where * (reach - 1))] = value
    if cut is not None:
        del body[int(cut * len(body)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(body)
        fd = os.open(path, os.O_RDONLY)
        try:
            found = decode(fd, lambda: None)
        except UnreadableImage as error:
            assert error.reason  # noqa: PT017
            assert folder not in str(error)  # noqa: PT017
        else:
            assert found.dtype.kind in "buif"
            assert found.ndim == 2 or found.shape[2] in (2, 3, 4)
        finally:
            os.close(fd)


def test_nothing_is_said_on_the_side(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    for body in ALL.values():
        for end in (len(body) // 3, len(body) - 30):
            with suppress(UnreadableImage):
                read(body[:end])
    heard = capfd.readouterr()
    assert (heard.out, heard.err) == ("", "")
    assert caplog.records == []
