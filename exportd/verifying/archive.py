"""The whole check of one archive."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from exportd.verifying.agreement import Agreement
from exportd.verifying.container import Contents, sums_of
from exportd.verifying.findings import Fault, Findings
from exportd.verifying.papers import MANIFEST, REPORT, SUMS, check_papers, counts, told


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an archive turned out to be."""

    members: int
    size: int
    """Bytes of all members, unpacked."""
    checks: tuple[str, ...]
    """What was looked at, a sentence each."""
    faults: tuple[Fault, ...]
    more_faults: int
    """That are not among `faults`, as there are too many."""

    @property
    def whole(self) -> bool:
        return not self.faults


def verify(path: Path) -> Verdict:
    """Reads all of the archive, each member at least once. Memory grows by some hundred bytes for each member.

    Faults are never raised. Raises OSError where the file itself cannot be read.
    """
    findings = Findings()
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError):
            findings.fault(path.name, "this is no ZIP archive, or its end is missing")
            return _verdict(findings, 0, 0)
        with archive:
            return _verdict(findings, len(archive.infolist()), _check(archive, path, findings))


def _check(archive: zipfile.ZipFile, path: Path, findings: Findings) -> int:
    if not {MANIFEST, SUMS, REPORT} & set(archive.namelist()):
        findings.fault(path.name, f"this is a ZIP, but no archive of exportd: it has neither {MANIFEST} nor {SUMS}")
        return 0
    sums = sums_of(archive, findings)
    size = sum(found.size for found in sums.values())
    findings.checked(f"{len(sums)} of {len(archive.infolist())} files were read to their end, {size} bytes.")
    contents = Contents(archive, sums)
    check_papers(contents, findings)
    Agreement(contents, told(contents, findings), findings).check(counts(contents, findings))
    return size


def _verdict(findings: Findings, members: int, size: int) -> Verdict:
    return Verdict(members, size, tuple(findings.checks), tuple(findings.faults), findings.more)
