"""Files and folders for nobody but their owner, whatever the umask. Blocking."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def private_file(path: Path) -> int:
    """A descriptor of a new file, for writing; the caller closes it. Raises OSError, `FileExistsError` among them."""
    return os.open(path, _NEW, 0o600)


def ensure_private_file(path: Path) -> None:
    """An empty file where there is none. SQLite takes it for a new database, and gives its other files the same mode."""
    with suppress(FileExistsError):
        os.close(private_file(path))


def ensure_private_folder(path: Path) -> None:
    """A folder where there is none; those above it are made as usual. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
