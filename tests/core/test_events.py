"""Frames, logs and outboxes: order, merging, the gate."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportd.core import events
from exportd.core.events import MAX_LOGGED, MAX_OUTBOX, Frame, Log, Message, Outbox
from exportd.core.job import Job
from exportd.core.options import ExportOptions
from exportd.core.states import State
from exportd.core.users import User

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
JOB = Job("j", "p", "Title", User("u", "u@example.org"), ExportOptions(include_documentation=True), T0)
ENDED = {
    State.COMPLETED: {"fileName", "fileSize", "sha256", "processingTime", "warnings", "summary"},
    State.CANCELLED: {"cancelledBy", "progress", "cleanupCompleted", "message"},
    State.FAILED: {"error", "errorCode", "stage", "retryable"},
}


def make_frame(event: str, seq: int, job: str = "j") -> Frame:
    return Frame(event, seq, seq, job, "p", b"")


@pytest.mark.parametrize("state", ENDED)
def test_terminal_events_have_their_keys(state: State) -> None:
    assert set(events.terminal(replace(JOB, state=state)).data) == ENDED[state] | {"jobId", "projectId", "timestamp"}


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    job = replace(JOB, state=State.COMPLETED, started_at=T0, completed_at=T0 - timedelta(days=1))
    assert events.terminal(job).data["processingTime"] == 0


def test_a_job_that_has_not_ended_has_no_terminal_event() -> None:
    with pytest.raises(ValueError, match="no terminal event"):
        events.terminal(JOB)


def test_a_frame_is_the_json_of_the_contract() -> None:
    frame = events.frame(events.progress(JOB, T0), JOB, 17, 1)
    told = orjson.loads(frame.payload)
    assert (told["event"], told["seq"], told["data"]["timestamp"]) == (
        "export:progress",
        17,
        "2026-01-31T12:00:00.000Z",
    )


def test_nothing_but_cancelled_passes_a_shut_gate_and_nothing_follows_the_end() -> None:
    log = Log("u1")
    log.add(Message(events.STARTED, {}), JOB, 1)
    log.close_by_cancel()
    for event in (events.PROGRESS, events.COMPLETED, events.FAILED, events.PHASE_CHANGED, events.STARTED):
        assert log.add(Message(event, {}), JOB, 2) is None
    last = log.add(Message(events.CANCELLED, {}), JOB, 3)
    assert last is not None
    assert last.seq == 2
    assert log.add(Message(events.CANCELLED, {}), JOB, 4) is None
    assert list(log.since(0)) == [last]  # what was before is not told again


def test_a_log_keeps_everything_but_old_progress() -> None:
    log = Log("u1")
    log.add(Message(events.STARTED, {}), JOB, 1)
    for order in range(3 * MAX_LOGGED):
        log.add(Message(events.PROGRESS, {}), JOB, order)
    kept = list(log.since(0))
    assert len(kept) == MAX_LOGGED
    assert kept[0].event == events.STARTED
    assert [f.seq for f in kept[1:]] == list(range(2 * MAX_LOGGED + 3, 3 * MAX_LOGGED + 2))


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([events.PROGRESS, events.PHASE_CHANGED]), st.booleans()))
)
def test_a_slow_reader_sees_order_no_repeats_and_all_but_progress(history: list[tuple[str, str, bool]]) -> None:
    outbox, sent, read = Outbox(), [], []
    for seq, (job, event, reads) in enumerate(history):
        sent.append(make_frame(event, seq, job))
        outbox.put(sent[-1])
        if reads and (frame := outbox.take()) is not None:
            read.append(frame)
    while (frame := outbox.take()) is not None:
        read.append(frame)
    for job in "ab":
        mine = [f.seq for f in read if f.job_id == job]
        assert mine == sorted(set(mine))
        assert [f for f in read if f.job_id == job][-1:] == [f for f in sent if f.job_id == job][-1:]
    assert [f for f in read if f.event != events.PROGRESS] == [f for f in sent if f.event != events.PROGRESS]


def test_progress_for_a_reader_that_never_reads_takes_one_place() -> None:
    outbox = Outbox()
    for seq in range(10 * MAX_OUTBOX):
        outbox.put(make_frame(events.PROGRESS, seq))
    assert (len(outbox), outbox.overrun) == (1, False)


def test_a_reader_for_whom_even_that_is_too_much_is_overrun() -> None:
    outbox = Outbox()
    for seq in range(MAX_OUTBOX + 1):
        outbox.put(make_frame(events.COMPLETED, seq, f"job{seq}"))
    assert outbox.overrun


def test_what_waits_for_who_is_overrun_does_not_grow_however_late_they_notice() -> None:
    outbox = Outbox()
    for seq in range(3 * MAX_OUTBOX):
        outbox.put(make_frame(events.COMPLETED, seq, f"job{seq}"))
    outbox.replay(make_frame(events.PROGRESS, seq) for seq in range(9 * MAX_OUTBOX))
    assert (len(outbox), outbox.overrun) == (0, True)


def test_who_asks_for_the_same_replay_again_and_again_is_overrun() -> None:
    outbox = Outbox()
    for _ in range(5):
        outbox.replay(make_frame(events.PHASE_CHANGED, seq) for seq in range(MAX_LOGGED))
    assert (len(outbox), outbox.overrun) == (0, True)


def test_a_purge_leaves_nothing_of_the_job_and_all_of_the_others() -> None:
    outbox = Outbox()
    outbox.replay(iter([make_frame(events.STARTED, 1), make_frame(events.STARTED, 1, "other")]))
    outbox.put(make_frame(events.PROGRESS, 2))
    outbox.put(make_frame(events.PROGRESS, 2, "other"))
    outbox.purge("j")
    outbox.put(make_frame(events.PROGRESS, 3, "other"))
    left = [outbox.take() for _ in range(len(outbox))]
    assert [(f.job_id, f.seq) for f in left if f] == [("other", 1), ("other", 2), ("other", 3)]
