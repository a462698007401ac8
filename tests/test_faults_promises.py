"""The fault sweeps' checks find what they are there to find: silent about a good history, loud about a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from harm.promises import Found, History, Seen, crash_faults, directory_faults, event_faults, path_faults
from load.checks import LEGAL

from exportd.core.states import TRANSITIONS, State

REFERENCE = "ab" * 32
WHOLE = ((None, "pending"), ("pending", "processing"), ("processing", "completed"))
DONE = Seen("completed", None, False, REFERENCE, False, REFERENCE, WHOLE, progress=100)
EXPIRED = replace(DONE, expired=True, download="EXPORT_EXPIRED")
CANCELLED = Seen("cancelled", None, False, None, False, "EXPORT_CANCELLED", (*WHOLE[:2], ("processing", "cancelled")))
INTERRUPTED = Seen("failed", "INTERRUPTED", True, None, False, "EXPORT_FAILED", (*WHOLE[:1], ("pending", "failed")))
KNOWN = {"old": DONE}


def found(again: str = REFERENCE, gone: bool = False, **jobs: Seen) -> Found:
    """A directory with these jobs, and the files that go with them."""
    whole: Mapping[str, Seen] = jobs if gone else KNOWN | jobs
    files = [f"archives/{name}.zip" for name, job in whole.items() if job.status == "completed" and not job.expired]
    return Found(whole, {}, files, again)


def history(*lines: tuple[Any, ...]) -> History:
    return History.of(lines)


STARTED = ("started", "new")
ASKED, ANSWERED = ("asked", "cancel", "new"), ("answered", "cancel", "new")
TOLD = ("event", "export:completed", "new")


def test_the_legal_paths_are_those_of_the_table() -> None:
    shown = {State.PENDING: "pending", State.PROCESSING: "processing"}
    edges: dict[str | None, set[str]] = {None: {"pending"}}
    for state, name in shown.items():
        reached, ahead = set[str](), list(TRANSITIONS[state].values())
        while ahead:
            target = ahead.pop()
            inner = target not in shown and TRANSITIONS[target]
            ahead += TRANSITIONS[target].values() if inner else []
            reached |= set() if inner else {target.value}
        edges[name] = reached
    assert edges == LEGAL


@pytest.mark.parametrize(
    ("told", "now"),
    [
        ([], found()),
        ([STARTED], found(new=INTERRUPTED)),
        ([STARTED], found(new=DONE)),
        ([STARTED, TOLD], found(new=DONE)),
        ([STARTED, ASKED], found(new=CANCELLED)),
        ([STARTED, ASKED], found(new=INTERRUPTED)),
        ([STARTED, ASKED, ANSWERED], found(new=CANCELLED)),
        ([("asked", "delete", "old")], found()),
        ([("asked", "delete", "old"), ("answered", "delete", "old")], found(gone=True)),
        ([("asked", "expire", "old")], found(old=EXPIRED)),
        ([STARTED], found(new=replace(DONE, sha256="cd", download="cd", warnings=1))),  # an image was left out
    ],
)
def test_a_good_end_has_no_faults(told: list[tuple[Any, ...]], now: Found) -> None:
    assert crash_faults(KNOWN, history(*told), now, REFERENCE) == []


@pytest.mark.parametrize(
    ("told", "now", "fault"),
    [
        ([], found(gone=True), "is gone"),
        ([], found(old=EXPIRED), "is expired"),
        ([], found(old=replace(DONE, download="cd")), "the download is cd"),
        ([], found(old=replace(DONE, trail=WHOLE[:2])), "audit trail ends in processing"),
        ([], found(again="failed"), "a new export gives failed"),
        ([STARTED], found(), "its start was answered and it is gone"),
        ([STARTED], found(new=replace(INTERRUPTED, error="UNKNOWN")), "is failed by UNKNOWN"),
        ([STARTED], found(new=replace(INTERRUPTED, retryable=False)), "retryable False"),
        ([STARTED], found(new=replace(INTERRUPTED, progress=100)), "failed with progress 100"),
        ([STARTED], found(new=CANCELLED), "nobody asked"),
        ([STARTED], found(new=replace(INTERRUPTED, status="processing", trail=WHOLE[:2])), "nothing works on it"),
        ([STARTED], found(new=replace(DONE, sha256="cd", download="cd")), "the archive is another"),
        ([STARTED], found(new=EXPIRED), "is expired"),
        ([STARTED, TOLD], found(new=INTERRUPTED), "was announced ['completed'] and is failed"),
        ([STARTED, ASKED, ANSWERED], found(new=INTERRUPTED), "its cancel was answered and it is failed"),
        ([STARTED, ASKED, ANSWERED], found(new=replace(CANCELLED, download="cd")), "the download is cd"),
        ([STARTED, ("answered", "delete", "new")], found(new=DONE), "was deleted and is there"),
        ([("asked", "delete", "old"), ("answered", "delete", "old")], found(), "was deleted and is there"),
        ([("asked", "expire", "old"), ("answered", "expire", "old")], found(), "was expired and is not"),
    ],
)
def test_a_broken_promise_is_seen(told: list[tuple[Any, ...]], now: Found, fault: str) -> None:
    assert any(fault in seen for seen in crash_faults(KNOWN, history(*told), now, REFERENCE))


def test_files_of_nobody_and_missing_ones_are_seen() -> None:
    for files in ([], ["archives/old.zip", "staging/x.zip"], ["archives/old.zip", "archives/x.zip"]):
        assert any("files" in fault for fault in directory_faults(replace(found(), files=files), REFERENCE))
    admitted = replace(found(), files=["archives/old.zip", "staging/x.zip"])
    assert list(directory_faults(admitted, REFERENCE, left={"staging/x.zip"})) == []


@pytest.mark.parametrize(
    "trail",
    [
        (("pending", "processing"),),
        (WHOLE[0], ("processing", "failed")),
        (*WHOLE, ("completed", "failed")),
        (*WHOLE[:2], WHOLE[1]),
    ],
)
def test_a_trail_with_a_hole_or_too_much_is_seen(trail: tuple[tuple[str | None, str], ...]) -> None:
    assert list(path_faults(trail, None))
    assert list(directory_faults(Found({}, {"gone": trail}, [], REFERENCE), REFERENCE))


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "failed"),
        (["export:started"], "failed"),
        (["export:failed", "export:failed"], "failed"),
        (["export:completed"], "failed"),
        (["export:failed", "export:progress"], "failed"),
    ],
)
def test_an_end_that_is_told_otherwise_is_seen(events: list[str], status: str) -> None:
    assert list(event_faults(events, status))
    assert not list(event_faults(["export:started", f"export:{status}"], status))
