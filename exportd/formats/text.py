"""Text of any origin as a file can hold it."""

from __future__ import annotations

import html
import re

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 knows no way to write: control characters, halves of surrogate pairs, two code points at the end."""


def writable(text: str) -> str:
    """The text without stray halves of surrogate pairs, which no UTF-8 can hold; each becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def xml_text(text: str) -> str:
    """The text for the inside of an element or of a quoted attribute; what XML cannot hold becomes U+FFFD."""
    escaped = html.escape(_NOT_XML.sub("\ufffd", text))
    # As they are, a reader would turn them into spaces or line ends of its own.
    return escaped.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")
