"""The load test's checks find what they are there to find: each is silent about a good history and speaks about a bad one."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location(
    "load_checks", Path(__file__).resolve().parents[1] / "scripts/load/checks.py"
)
assert _spec is not None
assert _spec.loader is not None
checks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checks)

JOB = "8f5c0000-0000-4000-8000-000000000001"
AT = "2026-01-31T12:00:00.000Z"


def stream(*events: str) -> list[Any]:
    """`started`, `40`, `completed`: a number is progress; one event each 10 ms, numbered from 1."""
    return [
        checks.Seen(0.01 * n, "export:progress", n, int(name))
        if name.isdigit()
        else checks.Seen(0.01 * n, f"export:{name}", n, None)
        for n, name in enumerate(events, 1)
    ]


@pytest.mark.parametrize(
    ("events", "final"),
    [
        (("started", "0", "40", "40", "100", "completed"), "completed"),
        (("started", "phase-changed", "7", "cancelled"), "cancelled"),
        (("cancelled",), "cancelled"),  # while it was pending
    ],
)
def test_a_whole_stream_has_no_faults(events: tuple[str, ...], final: str) -> None:
    assert checks.stream_faults(stream(*events), final) == []


@pytest.mark.parametrize(
    ("events", "final", "fault"),
    [
        ((), "completed", "terminal events"),
        (("started", "50"), "completed", "terminal events"),
        (("started", "completed", "completed"), "completed", "terminal events"),
        (("started", "cancelled", "completed"), "cancelled", "terminal events"),
        (("started", "completed"), "cancelled", "terminal events"),
        (("started", "cancelled", "60"), "cancelled", "after export:cancelled"),
        (("10", "started", "completed"), "completed", "started is not first"),
        (("started", "10", "started", "completed"), "completed", "started is not first"),
        (("10", "completed"), "completed", "started is not first"),
        (("completed",), "completed", "started is not first"),
        (("10", "cancelled"), "cancelled", "started is not first"),
        (("started", "40", "39", "completed"), "completed", "progress goes down"),
        (("started", "101", "completed"), "completed", "progress goes down or leaves"),
    ],
)
def test_a_broken_stream_is_seen(events: tuple[str, ...], final: str, fault: str) -> None:
    assert any(fault in found for found in checks.stream_faults(stream(*events), final))


@pytest.mark.parametrize("seq", [[1, 3, 2], [1, 2, 2]])
def test_numbers_that_do_not_ascend_are_seen(seq: list[int]) -> None:
    seen = [s._replace(seq=n) for s, n in zip(stream("started", "5", "completed"), seq, strict=True)]
    assert "seq does not ascend" in checks.stream_faults(seen, "completed")[0]


def test_a_gap_in_the_numbers_is_no_fault() -> None:  # progress was merged for a slow reader
    seen = [s._replace(seq=n) for s, n in zip(stream("started", "5", "completed"), [1, 4, 9], strict=True)]
    assert checks.stream_faults(seen, "completed") == []


def test_events_after_the_answer_are_seen_beyond_the_grace() -> None:
    seen = stream("started", "cancelled")
    assert checks.late_faults(seen, answered=0.0) == []
    assert len(checks.late_faults(seen, answered=-0.035)) == 1
    assert len(checks.late_faults(seen, answered=-1.0)) == 2
    assert checks.late_faults(seen, answered=-1.0, watchers=1001) == []
    assert len(checks.late_faults(seen, answered=-1.0, watchers=501)) == 2


def trail(*states: str, reason: str = "user_cancellation") -> list[dict[str, Any]]:
    reasons = {"pending": "submitted", "processing": "started", "completed": "committed", "cancelled": reason}
    befores = [None, *states[:-1]]
    return [
        {"from": before, "to": to, "reason": reasons.get(to), "actor": "u", "time": f"2026-01-31T12:00:00.{n:06d}Z"}
        for n, (before, to) in enumerate(zip(befores, states, strict=True))
    ]


def test_legal_trails_have_no_faults() -> None:
    assert checks.audit_faults(trail("pending", "processing", "completed"), "completed") == []
    assert checks.audit_faults(trail("pending", "processing", "cancelled"), "cancelled") == []
    assert checks.audit_faults(trail("pending", "cancelled"), "cancelled") == []


@pytest.mark.parametrize(
    ("rows", "final", "fault"),
    [
        ([], "completed", "ends with"),
        (trail("pending", "completed"), "completed", "no legal path"),
        (trail("processing", "completed"), "completed", "no legal path"),
        (trail("pending", "processing", "cancelled", "completed"), "completed", "no legal path"),
        (trail("pending", "processing", "cancelled", "cancelled"), "cancelled", "no legal path"),
        (trail("pending", "processing", "completed")[::2], "completed", "no legal path"),
        (trail("pending", "processing"), "cancelled", "ends with"),
        (trail("pending", "processing", "completed"), "cancelled", "ends with"),
        (trail("pending", "cancelled", reason="shutdown"), "cancelled", "cancelled for shutdown"),
        ([row | {"time": -n} for n, row in enumerate(trail("pending", "cancelled"))], "cancelled", "times go back"),
    ],
)
def test_an_illegal_trail_is_seen(rows: list[dict[str, Any]], final: str, fault: str) -> None:
    assert any(fault in found for found in checks.audit_faults(rows, final))


CANCELLED = {"success": True, "jobId": JOB, "status": "cancelled", "cancelledAt": AT, "cleanupCompleted": True}
GONE = {"success": False, "code": "EXPORT_CANCELLED", "cancelledAt": AT}


def after_cancel(**changes: Any) -> list[str]:
    """Faults of a good history in which answers were changed: `again={"cancelledAt": ...}` or `download=200`."""
    history = {
        "answer": checks.Answer(200, CANCELLED),
        "again": checks.Answer(200, CANCELLED),
        "download": checks.Answer(410, GONE),
        "token": checks.Answer(410, GONE),
    }
    for name, change in changes.items():
        old = history[name]
        history[name] = (
            checks.Answer(change, old.body) if isinstance(change, int) else old._replace(body=old.body | change)
        )
    return list(checks.cancel_faults(**history))


def test_a_cancel_that_keeps_its_promises_has_no_faults() -> None:
    assert after_cancel() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"answer": {"cleanupCompleted": False}}, "cleanupCompleted"),
        ({"answer": {"status": "processing"}}, "cancel answered"),
        ({"answer": {"cancelledAt": None}}, "cancel answered"),
        ({"again": 409}, "second cancel"),
        ({"again": {"cancelledAt": "2026-01-31T12:00:00.001Z"}}, "second cancel"),
        ({"download": 200}, "download of a cancelled"),
        ({"download": 404}, "download of a cancelled"),
        ({"download": {"code": "EXPORT_EXPIRED"}}, "download of a cancelled"),
        ({"download": {"cancelledAt": None}}, "download: cancelledAt"),
        ({"token": 200}, "download token of a cancelled"),
    ],
)
def test_a_broken_promise_of_a_cancel_is_seen(changes: dict[str, Any], fault: str) -> None:
    assert [fault in found for found in after_cancel(**changes)].count(True) == 1


def test_only_the_completed_may_refuse_a_cancel() -> None:
    completed = {"code": "EXPORT_COMPLETED", "status": "completed", "completedAt": AT}
    assert checks.refusal_faults(checks.Answer(409, completed)) == []
    assert checks.refusal_faults(checks.Answer(409, completed | {"completedAt": None}))
    assert checks.refusal_faults(checks.Answer(409, completed | {"code": "EXPORT_FAILED"}))
    assert checks.refusal_faults(checks.Answer(500, completed))


def test_a_cancelled_export_stays_cancelled() -> None:
    job = {"status": "cancelled", "cancelledAt": AT, "sha256": None, "fileSize": None, "completedAt": None}
    assert checks.cancelled_faults(job, AT) == []
    for change in (
        {"status": "failed"},
        {"sha256": "ab"},
        {"completedAt": AT},
        {"cancelledAt": "later"},
        {"fileSize": 1},
    ):
        assert checks.cancelled_faults(job | change, AT), change


def test_a_completed_export_is_what_was_announced() -> None:
    job = {"status": "completed", "sha256": "ab", "fileSize": 9, "progress": 100, "cancelledAt": None}
    download = checks.Download(200, 9, "ab", '"ab"')
    assert checks.completed_faults(job, download) == []
    for change in ({"status": "failed"}, {"sha256": "cd"}, {"fileSize": 8}, {"progress": 99}, {"cancelledAt": AT}):
        assert checks.completed_faults(job | change, download), change
    for other in ({"status": 410}, {"sha256": "cd"}, {"size": 8}, {"etag": '"cd"'}):
        assert checks.completed_faults(job, download._replace(**other)), other


def test_files_of_a_cancelled_job_are_seen_and_those_of_others_are_not() -> None:
    assert checks.file_faults({"archives/other.zip", "staging/another.zip"}, JOB) == []
    assert checks.file_faults({f"staging/{JOB}.zip"}, JOB)
    assert checks.file_faults({f"DATA/archives/{JOB}.zip (deleted)"}, JOB)


def test_whatever_is_new_at_the_end_is_left_over() -> None:
    assert checks.leftover_faults({"secret", "daemon.json"}, {"secret"}) == []
    assert checks.leftover_faults({"secret"}, {"secret", "uploads/x.png"})


def test_what_the_daemon_holds_may_vary_and_may_not_grow() -> None:
    before = checks.Resources(descriptors=20, threads=10, memory=100 << 20)
    assert checks.resource_faults(before, checks.Resources(22, 14, 150 << 20), 0.05, 0) == []
    for grown in (before._replace(descriptors=60), before._replace(threads=40), before._replace(memory=300 << 20)):
        assert checks.resource_faults(before, grown, 0.05, 0), grown
    assert checks.resource_faults(before, before, 0.9, 0)
    assert checks.resource_faults(before, before, 0.0, 1)


def test_errors_in_the_log_are_seen() -> None:
    good = ['{"level": "info", "event": "an error was averted"}', '{"level": "warning"}', "exportd serves", ""]
    assert checks.log_faults(good) == []
    for bad in ('{"level": "error", "event": "x"}', "ERROR hypercorn.error x", "Traceback (most recent call last):"):
        assert len(checks.log_faults([*good, bad])) == 1, bad


def test_percentiles_are_by_nearest_rank() -> None:
    assert checks.percentiles([]) == {}
    assert checks.percentiles([3.0]) == {"p50": 3.0, "p90": 3.0, "p99": 3.0, "max": 3.0}
    assert checks.percentiles([float(n) for n in range(100, 0, -1)]) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
