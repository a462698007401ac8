"""Names that are safe on every file system and unique whatever the case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_BYTES = 255
"""UTF-8 bytes of a name on the common file systems."""

STEM_ROOM = 40
"""Bytes kept free of that for what is added to a stem: ` (123456)`, `_viz.png` and their like."""

_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|clock\$|com[0-9¹²³]|lpt[0-9¹²³])$")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}$")


def archive_names(originals: Sequence[str]) -> list[str]:
    """A name for each original, in order: `a.png`, `a (2).png`, `a (3).tif`.

    Unique by the stem whatever the case, since labels and overlays are named by the stem; safe on every file system; the
    extension is kept. Linear in the number of names.
    """
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    names = []
    for original in originals:
        stem, extension = _split(_basename(original))
        stem = _cut(_safe_stem(stem) or "image", MAX_BYTES - STEM_ROOM - len(extension))
        key = _key(stem)
        unique, number = stem, next_number.get(key, 2)
        while _key(unique) in taken:
            unique = f"{stem} ({number})"
            number += 1
        next_number[key] = number
        taken.add(_key(unique))
        names.append(unique + extension)
    return names


def safe_file_name(name: str, extension: str) -> str:
    """`name` as a file name that ends with `extension`, which is not doubled; never empty, at most 255 bytes."""
    clean = _safe_stem(re.sub(r"[/\\]", "_", name))
    if clean.lower().endswith(extension.lower()):
        clean = _safe_stem(clean[: -len(extension)])
    return _cut(clean or "export", MAX_BYTES - len(extension.encode())) + extension


def _key(stem: str) -> str:
    """What two stems share that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", stem).casefold())


def _basename(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _split(name: str) -> tuple[str, str]:
    match = _EXTENSION.search(name.rstrip(". "))
    if match is None or match.start() == 0:
        return name, ""
    return name[: match.start()], match[0]


def _safe_stem(text: str) -> str:
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    text = _FORBIDDEN.sub("_", text)
    text = "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE).strip(" .")
    # A device is reserved with anything behind its first dot, too.
    return f"_{text}" if _RESERVED.match(text.partition(".")[0].strip()) else text


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes, never within a character, nor ending in what a file system drops."""
    return text.encode()[:limit].decode(errors="ignore").rstrip(" .") or "_"
