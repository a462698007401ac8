"""Names that every file system takes, and that stay apart on every one of them.

Windows knows no difference of case and reserves characters and names, macOS none of Unicode form, and all count bytes:
a name is at most 255 of them. Names outside of ASCII stay as they are, in NFC.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

NAME_BYTES = 255
"""The most bytes of UTF-8 that a name may have on common file systems."""

STEM_BYTES = 220
"""Of an image's stem. The rest is for what other members put behind it (`_viz.png`) and for an extension."""

EXTENSION_BYTES = NAME_BYTES - STEM_BYTES
COUNTER_BYTES = 10
"""Of ` (123456)`: kept free in a stem that gets a number, and a bit."""

DOWNLOAD_BYTES = 240
"""Of an archive's name: browsers put ` (1)` into it and `.crdownload` behind it."""

_UNSAFE = re.compile(r"[<>:|?*/\\\x7f]")
_SEPARATORS = re.compile(r"[/\\]")
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
"""Devices of Windows, whatever the extension."""

_ENDS = "." + "".join(c for c in map(chr, range(0x3001)) if c.isspace())
"""What a file system hides or drops at the ends of a name, and nobody sees there: dots and spaces of every width."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that are removed: control, formatting (bidi, zero width), lone surrogates, line separators."""


def archive_names(originals: Iterable[str]) -> list[str]:
    """A name for each image: safe, of at most 255 bytes, and unique by its stem whatever the case.

    The first of several keeps the name, the others get a number: `a.png`, `a (2).png`, `a (3).tif`. Folders are dropped.
    """
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    names = []
    for original in originals:
        stem, extension = _stem_and_extension(_basename(original))
        if _key(stem) in taken:
            # One counter for all stems that are cut to the same text, or many long ones would each try all numbers.
            base = _cut(stem, STEM_BYTES - COUNTER_BYTES)
            number = numbers.get(_key(base), 2)
            while _key(stem := f"{base} ({number})") in taken:
                number += 1
            numbers[_key(base)] = number + 1
        taken.add(_key(stem))
        names.append(stem + extension)
    return names


def safe_file_name(name: str, extension: str) -> str:
    """A title, or a name that a user asks for, as a file name with this extension (with its dot); never empty."""
    wanted = _visible(name).strip()
    if wanted.casefold().endswith(extension.casefold()):
        wanted = wanted[: -len(extension)]
    stem = _cut(_unreserved(_plain(wanted)), DOWNLOAD_BYTES - len(extension.encode()))
    return (stem or "export") + extension


def _basename(original: str) -> str:
    """The last part of a path of any system that is a name."""
    parts = [part for part in _SEPARATORS.split(_visible(original)) if part.strip(_ENDS)]
    return parts[-1] if parts else ""


def _stem_and_extension(name: str) -> tuple[str, str]:
    """Safe both; the extension with its dot, or empty. The stem is what `Image.stem` makes of them."""
    stem, dot, extension = name.rstrip(_ENDS).rpartition(".")
    if not dot:
        stem, extension = extension, ""
    stem = _cut(_unreserved(_plain(stem)), STEM_BYTES) or "image"
    if not extension:
        return stem, ""
    # Never empty, or a dot further left would be taken for the one before the extension.
    return stem, f".{_cut(_replaced(extension), EXTENSION_BYTES - 1) or '_'}"


def _visible(text: str) -> str:
    """In NFC, without characters that cannot be seen; a stray half of a surrogate pair cannot even be written."""
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFC", "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE))


def _replaced(text: str) -> str:
    """Without the characters that some file system refuses."""
    return _UNSAFE.sub("_", text.replace('"', "'"))


def _plain(text: str) -> str:
    """Also without what is hidden or dropped at the ends."""
    return _replaced(text).strip(_ENDS)


def _unreserved(stem: str) -> str:
    return f"_{stem}" if _RESERVED.match(stem) else stem


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, never a part of a character, no dot or space at the end."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[:limit].decode(errors="ignore").rstrip(_ENDS)


def _key(stem: str) -> str:
    """Equal for stems that some file system takes for one: Unicode's canonical caseless match."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", stem).casefold())
