"""The table of moves against rules that are stated without it, over every pair."""

from itertools import product

import pytest

from runyard.domain.errors import IllegalMoveError
from runyard.domain.lifecycle import ACTIVE, FINAL, Cause, State, move

PAIRS = list(product(State, Cause))
ASKED = {cause for cause in Cause if cause.endswith("_asked")}
ENDED = {Cause.COMPLETED, Cause.STOPPED, Cause.FAILED}


def after(state: State, cause: Cause) -> State | None:
    try:
        return move(state, cause)
    except IllegalMoveError:
        return None


@pytest.mark.parametrize(("state", "cause"), PAIRS)
def test_every_pair_has_one_defined_outcome(state: State, cause: Cause) -> None:
    if after(state, cause) is None:
        with pytest.raises(IllegalMoveError, match=state.value):
            move(state, cause)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("cause", sorted(ENDED))
def test_an_attempt_can_end_exactly_while_one_is_under_way(state: State, cause: Cause) -> None:
    outcome = after(state, cause)
    assert (outcome is not None) == (state in ACTIVE)
    assert outcome not in ACTIVE


@pytest.mark.parametrize("state", State)
def test_only_a_waiting_job_is_placed(state: State) -> None:
    assert (after(state, Cause.PLACED) is not None) == (state == State.QUEUED)


@pytest.mark.parametrize(("state", "cause"), [(s, c) for s, c in PAIRS if c in ASKED])
def test_asking_twice_is_no_error_and_changes_nothing_more(state: State, cause: Cause) -> None:
    if (once := after(state, cause)) is not None:
        assert after(once, cause) == once


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_state_is_left_by_a_retry_alone(state: State) -> None:
    ways_out = {cause for cause in Cause if after(state, cause) not in (None, state)}
    assert ways_out == (set() if state == State.COMPLETED else {Cause.RETRY_ASKED})


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_whatever_is_not_over_can_be_cancelled_and_then_ends(state: State) -> None:
    cancelled = move(state, Cause.CANCEL_ASKED)
    ends = {cancelled} if cancelled in FINAL else {move(cancelled, cause) for cause in ENDED}
    assert ends <= {State.CANCELLED, State.COMPLETED}


def test_work_that_was_finished_before_the_signal_came_is_kept() -> None:
    assert move(State.CANCELLING, Cause.COMPLETED) == State.COMPLETED
    assert move(State.PAUSING, Cause.COMPLETED) == State.COMPLETED


def test_a_machine_that_stops_a_job_does_not_end_it() -> None:
    assert move(State.RUNNING, Cause.STOPPED) == State.QUEUED
    assert move(State.PAUSING, Cause.STOPPED) == State.PAUSED


def test_an_illegal_wish_is_answered_with_what_to_do() -> None:
    with pytest.raises(IllegalMoveError, match="a completed job can't be retried") as refusal:
        move(State.COMPLETED, Cause.RETRY_ASKED)
    assert refusal.value.hint == "submit it again as a new job"
