"""Archives over HTTP: which part of the archive a request gets (RFC 9110). Nothing is read here; `bodies` does that."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Protocol
from urllib.parse import quote

from exportd.formats.naming import safe_file_name

MAX_RANGES = 100
"""Ranges in one request; with more, the header is noise and is ignored."""

MAX_NAME = 150
"""Characters of a `?filename=` that are looked at."""


class Headers(Protocol):
    """Where request headers are looked up: the framework's, or a dict in a test."""

    def get(self, key: str, /) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request is answered: `length` bytes of the archive from `start`. A 416 has no bytes of it."""

    status: int
    headers: dict[str, str]
    start: int = 0
    length: int = 0


def plan(method: str, headers: Headers, size: int, sha256: str, last_modified: datetime) -> Plan:
    """The answer to a GET or HEAD of an archive of `size` bytes. `headers` are looked up by their usual names."""
    tag, modified = f'"{sha256}"', _http_date(last_modified)
    common = {
        "ETag": tag,
        "Last-Modified": modified,
        "Cache-Control": "no-store",
        "Accept-Ranges": "bytes",
    }
    if _is_known(headers, tag, last_modified):
        return Plan(304, common)
    common["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
    whole = {**common, "Content-Length": str(size)}
    if method == "HEAD":
        return Plan(200, whole)
    wanted = _wanted(headers, size, tag, modified)
    if wanted is None:
        return Plan(200, whole, 0, size)
    if not wanted:
        refused = {"Accept-Ranges": "bytes", "Cache-Control": "no-store", "Content-Range": f"bytes */{size}"}
        return Plan(416, refused)
    if len(wanted) > 1:
        return Plan(200, whole, 0, size)
    first, last = wanted[0]
    length = last - first + 1
    part = {**common, "Content-Length": str(length), "Content-Range": f"bytes {first}-{last}/{size}"}
    return Plan(206, part, first, length)


def _wanted(headers: Headers, size: int, tag: str, modified: str) -> list[tuple[int, int]] | None:
    """The satisfiable ranges asked for; None when the whole is the answer."""
    asked = headers.get("Range")
    if asked is None:
        return None
    condition = headers.get("If-Range")
    if condition is not None and not _is_current(condition.strip(), tag, modified):
        return None
    return parse_range(asked, size)


def _is_current(condition: str, tag: str, modified: str) -> bool:
    """If-Range: the strong comparison of tags. Our dates are to the second, which is no strong validator (13.1.5), but
    an archive never changes: the exact date is taken."""
    if condition.startswith('"'):
        return condition == tag
    return _read_date(condition) == _read_date(modified)


# It begins with no blanks: they would be tried from each of them on, and a header of 60,000 would stop everything.
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')


def matches_weakly(condition: str, tag: str) -> bool:
    """If-None-Match: `*`, or any of the tags, weak or not."""
    return condition.strip() == "*" or tag in _TAG.findall(condition)


def _is_known(headers: Headers, tag: str, last_modified: datetime) -> bool:
    """Whether the client has the archive already. With If-None-Match the date does not count (13.1.3)."""
    if (known := headers.get("If-None-Match")) is not None:
        return matches_weakly(known, tag)
    since = _read_date(headers.get("If-Modified-Since") or "")
    return since is not None and since >= last_modified.astimezone(UTC).replace(microsecond=0)


def _read_date(text: str) -> datetime | None:
    """None for what is no date, is beyond all calendars, or has no zone: such a header is ignored."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if found.tzinfo is None else found


_SPEC = re.compile(r"(\d*)-(\d*)", re.ASCII)


def parse_range(value: str, size: int) -> list[tuple[int, int]] | None:
    """First and last byte of every range that can be satisfied; None when the header is to be ignored."""
    unit, equals, text = value.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs = [part.strip(" \t") for part in text.split(",")]
    specs = [spec for spec in specs if spec]  # a list may have empty elements (5.6.1)
    if not specs or len(specs) > MAX_RANGES:
        return None
    found: list[tuple[int, int]] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-":
            return None
        first, last = _number(match[1]), _number(match[2])
        if first is not None and last is not None and last < first:
            return None
        if (span := _span(first, last, size)) is not None:
            found.append(span)
    return found


_MOST_DIGITS = 19
"""Of an archive's size; longer numbers are past any end, and reading them as they are would cost a client nothing."""


def _number(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def _span(first: int | None, last: int | None, size: int) -> tuple[int, int] | None:
    """The bytes of one range, clipped; None when there is none of them."""
    if first is None:
        length = min(last or 0, size)
        return (size - length, size - 1) if length else None
    if first >= size:
        return None
    return first, size - 1 if last is None else min(last, size - 1)


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)


# --- names ----------------------------------------------------------------------------------------------------------


def disposition(name: str) -> str:
    """A Content-Disposition of RFC 6266: an ASCII name for old readers, the real one for the others."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def file_name(asked: str | None, default: str) -> str:
    """The name to save as: the one asked for, made safe, else the job's."""
    return safe_file_name(asked[:MAX_NAME] if asked and asked.strip(". \t") else default, ".zip")
