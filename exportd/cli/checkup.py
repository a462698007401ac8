"""What `doctor` looks at. Each check is a generator of findings, changes nothing, and raises nothing. Blocking."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from exportd.cli.output import many, size, span
from exportd.errors import DataDirectoryUnusable, ExportdError, SettingsError, UnreadableImage

if TYPE_CHECKING:
    from exportd.settings import Loaded, Settings
    from exportd.store.sources import Uploads

OK, WARNING, FAULT = "ok", "warning", "fault"

NAMED = 10
"""Images that are named one by one; the others are counted."""

MIN_SECRET = 32
"""Bytes of a secret for HS256 (RFC 7518 §3.2)."""

LITTLE = 1 << 30
"""Bytes beyond the reserve below which space is about to be a problem."""

OLDEST = datetime(2025, 1, 1, tzinfo=UTC)
"""No clock that is right tells an earlier time than when this was written."""

SKEW = 5.0
"""Seconds that the clock may differ from that of the file system."""


class Finding(NamedTuple):
    """One thing that was found, and for what is not well how to mend it."""

    check: str
    level: str
    found: str
    mend: str = ""


def settings(loaded: Loaded) -> Iterator[Finding]:
    """What contradicts itself, or keeps the daemon from starting."""
    from exportd.settings import is_loopback

    now, origins = loaded.settings, loaded.origins
    secret = None if now.jwt_secret is None else now.jwt_secret.get_secret_value().encode()
    given = sorted(name for name, origin in origins.items() if origin != "default")
    yield Finding("settings", OK, f"Not the defaults: {', '.join(given)}." if given else "All have their defaults.")
    if secret is None and not is_loopback(now.host):
        mend = "set EXPORTD_JWT_SECRET, or EXPORTD_HOST=127.0.0.1"
        yield Finding("settings", FAULT, f"It listens on {now.host} and has no secret: it will not start.", mend)
    if secret is not None and len(secret) < MIN_SECRET:
        mend = "make a longer one: openssl rand -base64 48"
        yield Finding("settings", WARNING, f"EXPORTD_JWT_SECRET has {len(secret)} bytes, and can be guessed.", mend)
    if now.database_url is not None and now.uploads is None:
        mend = "set EXPORTD_UPLOADS to the folder that the image paths in it are relative to"
        yield Finding("settings", WARNING, "There is a database of projects, and no folder named for its images.", mend)
    yield from _readable_by_others(now.data / "exportd.toml", "settings", "jwt_secret" in origins)


def data_directory(now: Settings) -> Iterator[Finding]:
    """Whether it is there, writable and nobody else's; whether its journal is whole."""
    data = now.data
    if not data.is_dir():
        if data.exists():
            yield Finding("data", FAULT, f"{data} is no directory.", "name another with --data or EXPORTD_DATA")
        else:
            yield Finding("data", WARNING, f"{data} does not exist yet.", "exportd init, or exportd serve, makes it")
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        mend = f"run exportd as its owner, or: chown -R $(id -un) {data}"
        yield Finding("data", FAULT, f"{data} cannot be written by this user.", mend)
        return
    yield Finding("data", OK, f"{data} is there{', and a daemon serves it' if _is_served(data) else ''}.")
    if data.stat().st_mode & 0o077:
        yield Finding("data", WARNING, "Other users of this machine can look into it.", f"chmod 700 {data}")
    yield from _readable_by_others(data / "secret", "data", True)
    yield from _secret(now)
    yield from _journal(data)


def _secret(now: Settings) -> Iterator[Finding]:
    from exportd.cli.users import has_secret
    from exportd.tokens import load_secret

    with suppress(OSError):
        try:
            if has_secret(now):
                load_secret(now)
        except SettingsError as error:
            found, _, mend = str(error).partition("; ")
            yield Finding("data", FAULT, f"{found}.", mend.rstrip("."))


def _journal(data: Path) -> Iterator[Finding]:
    from exportd.store.journal import FILE_NAME, read_check

    if not (data / FILE_NAME).exists():
        yield Finding("data", OK, "There is no journal yet; the first start makes it.")
        return
    mend = "restore journal.db from a backup, or move it away: its jobs are forgotten then"
    try:
        verdict, _ = read_check(data)
    except DataDirectoryUnusable:
        yield Finding("data", FAULT, "The journal cannot be read.", mend)
        return
    if verdict != "ok":
        yield Finding("data", FAULT, f"The journal is damaged: {verdict}.", mend)


def space(now: Settings) -> Iterator[Finding]:
    """What is left for archives."""
    where = next(folder for folder in (now.data, *now.data.parents) if folder.is_dir())
    usage = shutil.disk_usage(where)
    left = usage.free - now.disk_reserve.of(usage.total)
    mend = "make room, lower EXPORTD_ARCHIVE_TTL or EXPORTD_DISK_RESERVE, or move the data directory"
    if left <= 0:
        yield Finding("space", FAULT, f"Nothing is left beyond the reserve ({size(usage.free)} are free).", mend)
    elif left < LITTLE:
        yield Finding("space", WARNING, f"Only {size(left)} are left for archives.", mend)
    else:
        yield Finding("space", OK, f"{size(left)} are left for archives.")
    if os.statvfs(where).f_files and not os.statvfs(where).f_favail:
        yield Finding(
            "space", FAULT, "The file system takes no more files (inodes).", "remove files, or move the data directory"
        )


def catalogue(now: Settings) -> Iterator[Finding]:
    """Whether the projects can be read."""
    from exportd.cli import users
    from exportd.store.engines import FILE_NAME

    if now.database_url is None and not (now.data / FILE_NAME).exists():
        yield Finding(
            "catalogue", WARNING, "There are no projects yet.", "exportd import brings one in, exportd demo makes one"
        )
        return
    try:
        with users.catalogue(now) as known:
            projects, people = len(known.titles()), len(known.users())
    except ExportdError as error:
        mend = "check EXPORTD_DATABASE_URL" if now.database_url else "restore catalogue.db from a backup"
        yield Finding("catalogue", FAULT, str(error), mend)
        return
    if not projects:
        yield Finding(
            "catalogue", WARNING, "It has no projects.", "exportd import brings one in, exportd demo makes one"
        )
    else:
        yield Finding("catalogue", OK, f"{many(projects, 'project')} of {many(people, 'user')} can be read.")


def images(now: Settings, on_image: Callable[[], None] = lambda: None) -> Iterator[Finding]:
    """Every image of every project: whether its file is there, and looks like an image. `on_image` is called for each."""
    from exportd.cli import users
    from exportd.store.engines import FILE_NAME
    from exportd.store.sources import Uploads

    if now.database_url is None and not (now.data / FILE_NAME).exists():
        return
    mend = "check EXPORTD_UPLOADS, put the files back, or export without them"
    root = now.uploads_directory
    count = bad = 0
    try:
        with users.catalogue(now) as known:
            titles = known.titles()
            if titles and not root.is_dir():
                yield Finding("images", FAULT, f"{root} is not there, and images should be below it.", mend)
                return
            uploads = Uploads(root)
            for project, title in titles:
                for row in known.images(project, None):
                    on_image()
                    count += 1
                    if (fault := _image_fault(uploads, row.original_path)) is not None:
                        bad += 1
                        if bad <= NAMED:
                            level, what = fault
                            yield Finding("images", level, f"{title}: {row.name}: {what}.", mend)
    except ExportdError:
        return  # the check of the catalogue tells
    if bad > NAMED:
        yield Finding("images", FAULT, f"{bad - NAMED} more of {count} images are missing or cannot be read.", mend)
    if not bad:
        yield Finding("images", OK, f"All {count} images are there and begin and end as images do.")


def _image_fault(uploads: Uploads, path: str) -> tuple[str, str] | None:
    try:
        probe = uploads.probe(path)
    except UnreadableImage as error:
        return FAULT, error.reason
    return None if probe.warning is None else (WARNING, probe.warning)


def clock(now: Settings) -> Iterator[Finding]:
    """Whether the time is plausible: tokens, expiry and the audit trail go by it."""
    told = datetime.now(UTC)
    mend = "set it, and keep it by NTP (timedatectl set-ntp true)"
    if told < OLDEST:
        yield Finding("clock", FAULT, f"It says {told:%Y-%m-%d}, which is long ago.", mend)
    elif (ahead := _newest(now.data, told)) > SKEW:
        found = f"The journal has been written {span(ahead)} in the future: the clock was ahead, or has been set back."
        yield Finding("clock", WARNING, found, mend)
    elif (skew := _skew(now.data)) > SKEW:
        found = f"It differs by {span(skew)} from that of the file system that the data directory is on."
        yield Finding("clock", WARNING, found, "keep both machines by NTP")
    else:
        yield Finding("clock", OK, f"It says {told:%Y-%m-%d %H:%M} UTC.")


def _newest(data: Path, told: datetime) -> float:
    """Seconds from now to the newest row of the audit trail; negative where that is in the past, as it should be."""
    from exportd.store.journal import read_check

    try:
        _, newest = read_check(data)
    except DataDirectoryUnusable:
        return 0.0
    return 0.0 if newest is None else (newest - told).total_seconds()


def _skew(data: Path) -> float:
    """Seconds by which the file system's time for a new file differs from ours; a network's may."""
    import tempfile

    if not os.access(data, os.W_OK):
        return 0.0
    try:
        with tempfile.NamedTemporaryFile(dir=data, prefix=".doctor-") as file:
            return abs(os.fstat(file.fileno()).st_mtime - time.time())
    except OSError:
        return 0.0


def _readable_by_others(path: Path, check: str, matters: bool) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if matters and stat.S_IMODE(mode) & 0o077:
        yield Finding(check, WARNING, f"{path.name} can be read by others, and may hold a secret.", f"chmod 600 {path}")


def _is_served(data: Path) -> bool:
    import fcntl

    try:
        with (data / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def unreadable(error: SettingsError) -> Finding:
    """Settings that cannot even be loaded."""
    return Finding("settings", FAULT, str(error), "correct what it names; `exportd config` tells whether that was all")
