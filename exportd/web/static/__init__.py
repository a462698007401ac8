"""The page: plain HTML, CSS and ES modules, served as they lie here. `app.js` tells how the modules hang together."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

PAGE = "index.html"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """A file as it is served. `tag` is its ETag."""

    content: bytes
    media_type: str
    tag: str


def assets() -> dict[str, Asset]:
    """Every file of the page by its name."""
    found = {}
    for file in files(__name__).iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in MEDIA_TYPES:
            content = file.read_bytes()
            found[file.name] = Asset(content, MEDIA_TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found
