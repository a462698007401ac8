"""Unpacking an archive into a folder: all of it or nothing, and nowhere else. Blocking."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from exportd.cli.failures import USAGE, Failure
from exportd.cli.output import size
from exportd.verifying.container import BROKEN, READ_BYTES, vetted
from exportd.verifying.findings import Findings


def check_folder(folder: Path) -> None:
    """Raises `Failure` unless there is nothing at `folder`, or an empty folder: files of before must not mix with new ones."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(f"{folder} is there already; name a new or an empty folder with --extract.", USAGE)


def archive_beside(folder: Path, job_id: str) -> Path:
    """Where an archive lies that is only fetched to be unpacked. The same name again, so that a download goes on."""
    return folder.parent / f".{folder.name}.{job_id[:8]}.zip"


def extract(archive: Path, folder: Path) -> int:
    """Unpacks; the number of files. What ends it, Ctrl-C too, leaves the folder as it was.

    Raises `Failure` for an archive with a member that must not be unpacked or is damaged, and for want of room.
    """
    check_folder(folder)
    folder = Path(os.path.realpath(folder))  # an empty folder may be replaced, a link to it not
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # of a time when the machine went down
    try:
        draft.mkdir()
        count = _unpack(archive, draft)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return count


def _unpack(archive: Path, draft: Path) -> int:
    try:
        with zipfile.ZipFile(archive) as packed:
            members = _members(packed, archive)
            _check_room(members, draft)
            for info in members:
                _write(packed, info, draft / info.filename)
    except zipfile.BadZipFile:
        raise Failure(f"{archive} is no ZIP archive, or its end is missing; fetch it again.") from None
    return len(members)


def _members(packed: zipfile.ZipFile, archive: Path) -> Sequence[zipfile.ZipInfo]:
    findings = Findings()
    members = vetted(packed.infolist(), findings)
    if findings.faults:
        fault = findings.faults[0]
        raise Failure(f"{archive} is not unpacked: {fault.place}: {fault.sentence}. `exportd verify` tells all.")
    return members


def _check_room(members: Sequence[zipfile.ZipInfo], draft: Path) -> None:
    needed, free = sum(info.file_size for info in members), shutil.disk_usage(draft).free
    if needed > free:
        raise Failure(
            f"Unpacked it has {size(needed)}, and {draft.parent} has room for {size(free)}; name another place."
        )


def _write(packed: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        try:
            with packed.open(info) as member:
                pieces = iter(lambda: member.read(READ_BYTES), b"")
                for piece in pieces:
                    file.write(piece)
        except BROKEN as error:
            if isinstance(error, OSError):  # of the disk, not of the archive
                raise
            raise Failure(f"{info.filename} in the archive is damaged; fetch it again.") from None
