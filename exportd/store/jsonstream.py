"""Reads a large JSON file without holding it: the items of its long lists come one at a time."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TextIO

from exportd.errors import ImportFailed

CHUNK = 1 << 20
"""Characters that are read at a time, and more while a single value is longer."""

_BLANK = " \t\r\n"

_NEAR_THE_END = 16
"""Characters: a fault that close to what has been read may be a value that goes on behind it (`tru`, `\\u00`)."""


def walk(path: Path, lists: Collection[str], found: set[str]) -> Iterator[tuple[str, object]]:
    """The members of the JSON object in a file, (key, value) each, in the order of the file.

    Of the keys in `lists` whose value is an array, each item comes by itself as (key, item); `found` gets these keys.
    Beyond the standard, NaN and infinities are read as null: programs write them. Raises `ImportFailed` with the place.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from walk_text(file, path.name, lists, found)
    except OSError as error:
        raise ImportFailed(f"{path.name} cannot be read: {error.strerror}.") from None


def walk_text(
    file: TextIO, name: str, lists: Collection[str], found: set[str], longest: int | None = None
) -> Iterator[tuple[str, object]]:
    """As `walk`, of a text that is open already and called `name`. A value of more than about `longest` characters is
    a fault, so that a text made to be large cannot fill the memory."""
    try:
        yield from _Reader(file, name, longest).members(lists, found)
    except UnicodeDecodeError as error:
        raise ImportFailed(f"{name} is not UTF-8 text ({error.reason}); save it as UTF-8 JSON.") from None


class _Reader:
    """A window on the text that moves forward."""

    def __init__(self, file: TextIO, name: str, longest: int | None = None) -> None:
        self._file = file
        self._name = name
        self._longest = longest
        self._text = ""
        self._at = 0
        self._lines = 0
        self._column = 0
        self._decoder = json.JSONDecoder(parse_constant=lambda _: None)

    def members(self, lists: Collection[str], found: set[str]) -> Iterator[tuple[str, object]]:
        self._expect("{", "an object at the top")
        if self._peek() == "}":
            self._at += 1
        else:
            yield from self._pairs(lists, found)
        if self._peek():
            raise self._fault("the end of the file is expected")

    def _pairs(self, lists: Collection[str], found: set[str]) -> Iterator[tuple[str, object]]:
        while True:
            if self._peek() != '"':
                raise self._fault("a key in double quotes is expected")
            key = str(self._value())
            self._expect(":", "':' after a key")
            if key in lists and self._peek() == "[":
                self._at += 1
                found.add(key)
                for item in self._items():
                    yield key, item
            else:
                yield key, self._value()
            if not self._another("}"):
                return

    def _items(self) -> Iterator[object]:
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self._value()
            if not self._another("]"):
                return

    def _another(self, end: str) -> bool:
        """Steps over a comma (True) or the end."""
        char = self._peek()
        if char not in (",", end) or not char:
            raise self._fault(f"',' or '{end}' is expected")
        self._at += 1
        return char == ","

    def _expect(self, char: str, what: str) -> None:
        if self._peek() != char:
            raise self._fault(f"{what} is expected")
        self._at += 1

    def _peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANK:
                    return self._text[self._at]
                self._at += 1
            if not self._fill():
                return ""

    def _value(self) -> object:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _NEAR_THE_END or error.msg.startswith("Unterminated string")
                if cut and self._fill():
                    continue
                raise self._fault(error.msg[:1].lower() + error.msg[1:], error.pos) from None
            except (ValueError, RecursionError):  # thousands of digits, thousands of brackets
                raise self._fault("a value is too long or too deep") from None
            # A number that ends about where the text that was read does may go on: `0.` is read as 0 and a point.
            if isinstance(value, int | float) and end >= len(self._text) - _NEAR_THE_END and self._fill():
                continue
            self._at = end
            return value

    def _fill(self) -> bool:
        """Reads more and drops what is done; False at the end, and nothing has changed then.

        Reads as much again as is waiting, so that starting a long value anew stays cheap.
        """
        rest = self._text[self._at :]
        if self._longest is not None and len(rest) > self._longest:
            raise self._fault("a value is too long")
        more = self._file.read(max(CHUNK, len(rest)))
        if not more:
            return False
        gone = self._text[: self._at]
        if (newlines := gone.count("\n")) > 0:
            self._lines += newlines
            self._column = len(gone) - gone.rindex("\n") - 1
        else:
            self._column += len(gone)
        self._text, self._at = rest + more, 0
        return True

    def _fault(self, what: str, at: int | None = None) -> ImportFailed:
        before = self._text[: self._at if at is None else at]
        newlines = before.count("\n")
        column = len(before) - before.rindex("\n") if newlines else self._column + len(before) + 1
        return ImportFailed(
            f"{self._name} is not the JSON it should be: line {self._lines + newlines + 1}, column {column}: {what}."
        )
