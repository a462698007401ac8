"""The transition table: total, every cell tried, and no history leaves a final state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportd.core.states import FINAL, INITIAL, TRANSITIONS, Event, State, after, allows, diagram
from exportd.errors import IllegalTransition


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_cell_is_an_entry_or_raises(state: State, event: Event) -> None:
    if allows(state, event):
        assert after(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalTransition) as caught:
            after(state, event)
        assert (caught.value.state, caught.value.event) == (state, event)


def test_cancel_and_commit_exclude_each_other() -> None:
    assert not allows(State.COMMITTING, Event.CANCEL)
    assert not allows(State.CANCELLING, Event.COMMIT)
    assert TRANSITIONS[State.CANCELLING] == {Event.CANCEL_DONE: State.CANCELLED}


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_no_history_leaves_a_final_state(history: list[Event]) -> None:
    state, ended_as = INITIAL, None
    for event in history:
        if allows(state, event):
            state = after(state, event)
        if ended_as is not None:
            assert state is ended_as
        elif state in FINAL:
            ended_as = state


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_nothing_completes_after_a_cancel_was_taken(history: list[Event]) -> None:
    state, cancelled = INITIAL, False
    for event in history:
        if allows(state, event):
            cancelled |= event is Event.CANCEL
            state = after(state, event)
        assert not (cancelled and state in (State.COMPLETED, State.FAILED))


def test_every_state_can_be_reached_and_the_final_ones_from_everywhere() -> None:
    reached, front = {INITIAL}, [INITIAL]
    while front:
        for target in TRANSITIONS[front.pop()].values():
            if target not in reached:
                reached.add(target)
                front.append(target)
    assert reached == set(State)
    assert {State.COMPLETED, State.CANCELLED, State.FAILED} == FINAL


def test_the_diagram_shows_every_transition() -> None:
    assert diagram().count(" : ") == sum(map(len, TRANSITIONS.values()))
