"""A JSON list of many objects, parsed some at a time: one call for all of it would hold everything else up for seconds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import orjson

PIECE = 256 << 10
"""Bytes, about, that are parsed in one step: some 5 ms."""

WINDOW = 1 << 20
"""Bytes that are searched for ends of items in one step: some 10 ms."""

_BLANK = b" \t\r\n"


class NoList(Exception):
    """The text is no JSON list."""


def items(text: str | bytes) -> Iterator[list[Any]]:
    """The items of the list in their order, in one or several lists. Raises `NoList`.

    That may be after some of the items: only a text that was read to its end is known to be one.
    """
    # Half a surrogate pair is no text that could be written down; it becomes a byte that no JSON may have.
    data = (text.encode(errors="surrogatepass") if isinstance(text, str) else text).strip(_BLANK)
    if len(data) <= PIECE:
        yield _parsed(data)
        return
    if not (data.startswith(b"[") and data.endswith(b"]")):
        raise NoList
    begin = 1
    for end in chain(_ends(data), [len(data) - 1]):
        piece = _parsed(b"[" + data[begin:end] + b"]")
        if not piece:  # a comma with nothing behind it
            raise NoList
        yield piece
        begin = end + 1


def _parsed(data: bytes) -> list[Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NoList from error
    if not isinstance(found, list):
        raise NoList
    return found


def _ends(data: bytes) -> Iterator[int]:
    """Places of commas between items, about `PIECE` apart. Of a text that is no JSON, any places."""
    depth, quoted, last = 0, False, 0
    for begin in range(0, len(data), WINDOW):
        window = _unescaped(data, begin)
        quotes = np.cumsum(window == ord('"')) + quoted
        plain = quotes % 2 == 0
        steps = np.isin(window, np.frombuffer(b"[{", np.uint8)).astype(np.int8)
        steps -= np.isin(window, np.frombuffer(b"]}", np.uint8))
        depths = np.cumsum(np.where(plain, steps, 0)) + depth
        for place in np.flatnonzero((window == ord(",")) & plain & (depths == 1)).tolist():
            if begin + place - last >= PIECE:
                last = begin + place
                yield last
        depth, quoted = int(depths[-1]), bool(quotes[-1] % 2)


def _unescaped(data: bytes, begin: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """A window of the text without escaped quotes; what it escapes may begin before it."""
    run = begin
    while run and data[run - 1] == ord("\\"):
        run -= 1
    odd = (begin - run) % 2
    window = data[begin : begin + WINDOW]
    if odd or b"\\" in window:
        window = (b"\\" * odd + window).replace(rb"\\", b"  ").replace(rb"\"", b"  ")[odd:]
    return np.frombuffer(window, np.uint8)
