"""The state machine of a job: one total table, no I/O.

Three states make a decision visible before its consequences are done. In `COMMITTING` the rename has begun and a cancel
has lost; in `CANCELLING` the cancel has won and the task unwinds; in `FAILING` an error has won. The wire shows none of
them: what is shown must survive a crash, and until its journal row is written a decision does not. Hence `wire`.
"""

from __future__ import annotations

from enum import StrEnum

from exportd.errors import IllegalTransition


class State(StrEnum):
    """Where a job is."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMMITTING = "committing"
    CANCELLING = "cancelling"
    FAILING = "failing"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Event(StrEnum):
    """What happens to a job. Decisions are taken under the registry's lock; outcomes follow when all is on disk."""

    START = "start"
    COMMIT = "commit"
    CANCEL = "cancel"
    FAIL = "fail"
    COMMITTED = "committed"
    CANCEL_DONE = "cancel_done"
    FAIL_DONE = "fail_done"


class Reason(StrEnum):
    """Why a transition was made (SPEC §2)."""

    SUBMITTED = "submitted"
    STARTED = "started"
    COMMITTED = "committed"
    USER_CANCELLATION = "user_cancellation"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    ACCESS_REVOKED = "access_revoked"
    SOURCE_ERROR = "source_error"
    INSUFFICIENT_SPACE = "insufficient_space"
    INTERNAL_ERROR = "internal_error"
    INTERRUPTED = "interrupted"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.PENDING: {
        Event.START: State.PROCESSING,
        Event.CANCEL: State.CANCELLING,
        Event.FAIL: State.FAILING,
    },
    State.PROCESSING: {
        Event.COMMIT: State.COMMITTING,
        Event.CANCEL: State.CANCELLING,
        Event.FAIL: State.FAILING,
    },
    State.COMMITTING: {
        # No CANCEL: whoever took the lock first has won, and this is the commit.
        Event.COMMITTED: State.COMPLETED,
        Event.FAIL: State.FAILING,  # the rename or the journal failed: there is no archive
    },
    State.CANCELLING: {
        # No FAIL and no COMMIT: an error while the task unwinds, or a late end of it, changes nothing.
        Event.CANCEL_DONE: State.CANCELLED,
    },
    State.FAILING: {
        # No CANCEL: the caller waits and is told that the export failed.
        Event.FAIL_DONE: State.FAILED,
    },
    State.COMPLETED: {},
    State.CANCELLED: {},
    State.FAILED: {},
}

FINAL = frozenset(state for state, row in TRANSITIONS.items() if not row)

INITIAL = State.PENDING


def allows(state: State, event: Event) -> bool:
    """Whether the table has an entry."""
    return event in TRANSITIONS[state]


def after(state: State, event: Event) -> State:
    """The state that `event` leads to. Raises `IllegalTransition` where the table has no entry."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(state, event) from None


def diagram() -> str:
    """The table as a Mermaid state diagram, for the README."""
    lines = ["stateDiagram-v2", f"    [*] --> {INITIAL}"]
    lines += [
        f"    {state} --> {target} : {event}" for state, row in TRANSITIONS.items() for event, target in row.items()
    ]
    lines += [f"    {state} --> [*]" for state in TRANSITIONS if state in FINAL]
    return "\n".join(lines)
