"""The life of a job: states, the causes that move it, and the one table of legal moves.

A job is what was asked; an attempt is one try on one machine. Why a job failed is a value of its own, beside the state.
"""

from enum import StrEnum

from runyard.domain.errors import IllegalMoveError


class State(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Cause(StrEnum):
    """What makes a job move: something a person asked for, or something that was seen."""

    PLACED = "placed"
    STARTED = "started"
    PAUSE_ASKED = "pause_asked"
    RESUME_ASKED = "resume_asked"
    CANCEL_ASKED = "cancel_asked"
    RETRY_ASKED = "retry_asked"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    RETRIED = "retried"
    """It failed in a way that another try may not, and is tried again by itself."""
    PREEMPTED = "preempted"
    """It has to make room for an urgent job."""
    YIELDED = "yielded"
    """It has made room, or its pause was taken back before it had stopped: it waits at its old place."""


FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
ACTIVE = frozenset({State.STARTING, State.RUNNING, State.PAUSING, State.CANCELLING})
"""States in which an attempt is under way."""

MOVES: dict[tuple[State, Cause], State] = {
    (State.QUEUED, Cause.PLACED): State.STARTING,
    (State.QUEUED, Cause.PAUSE_ASKED): State.PAUSED,
    (State.QUEUED, Cause.CANCEL_ASKED): State.CANCELLED,
    (State.STARTING, Cause.STARTED): State.RUNNING,
    (State.STARTING, Cause.PAUSE_ASKED): State.PAUSING,
    (State.STARTING, Cause.CANCEL_ASKED): State.CANCELLING,
    (State.STARTING, Cause.COMPLETED): State.COMPLETED,
    (State.STARTING, Cause.STOPPED): State.QUEUED,
    (State.STARTING, Cause.RETRIED): State.QUEUED,
    (State.STARTING, Cause.PREEMPTED): State.PAUSING,
    (State.STARTING, Cause.FAILED): State.FAILED,
    (State.RUNNING, Cause.PAUSE_ASKED): State.PAUSING,
    (State.RUNNING, Cause.CANCEL_ASKED): State.CANCELLING,
    (State.RUNNING, Cause.COMPLETED): State.COMPLETED,
    # Nobody here asked it to stop: the machine did. It saved, so it goes on when there is room.
    (State.RUNNING, Cause.STOPPED): State.QUEUED,
    (State.RUNNING, Cause.RETRIED): State.QUEUED,
    (State.RUNNING, Cause.PREEMPTED): State.PAUSING,
    (State.RUNNING, Cause.FAILED): State.FAILED,
    (State.PAUSING, Cause.CANCEL_ASKED): State.CANCELLING,
    (State.PAUSING, Cause.STOPPED): State.PAUSED,
    (State.PAUSING, Cause.YIELDED): State.QUEUED,
    # It ended without saving, but what it had saved before is there to go on from.
    (State.PAUSING, Cause.RETRIED): State.PAUSED,
    (State.PAUSING, Cause.COMPLETED): State.COMPLETED,
    (State.PAUSING, Cause.FAILED): State.FAILED,
    (State.PAUSED, Cause.RESUME_ASKED): State.QUEUED,
    (State.PAUSED, Cause.CANCEL_ASKED): State.CANCELLED,
    (State.CANCELLING, Cause.STOPPED): State.CANCELLED,
    (State.CANCELLING, Cause.FAILED): State.CANCELLED,
    # The last step was done before the signal came: what was paid for is kept.
    (State.CANCELLING, Cause.COMPLETED): State.COMPLETED,
    (State.FAILED, Cause.RETRY_ASKED): State.QUEUED,
    (State.CANCELLED, Cause.RETRY_ASKED): State.QUEUED,
}

ALREADY_THERE: dict[Cause, frozenset[State]] = {
    Cause.STARTED: frozenset({State.RUNNING, State.PAUSING, State.CANCELLING}),
    Cause.PAUSE_ASKED: frozenset({State.PAUSING, State.PAUSED}),
    # What was told to save and leave can't be told to stay: it does, and goes on then.
    Cause.RESUME_ASKED: frozenset({State.QUEUED, State.STARTING, State.RUNNING, State.PAUSING}),
    Cause.CANCEL_ASKED: frozenset({State.CANCELLING, State.CANCELLED}),
    Cause.RETRY_ASKED: frozenset({State.QUEUED, State.STARTING, State.RUNNING}),
    Cause.PREEMPTED: frozenset({State.PAUSING}),
}
"""States in which a cause has nothing left to change, so that asking twice is no error."""


def move(state: State, cause: Cause) -> State:
    """The state after a cause; the same one if the cause has already had its effect.

    Raises IllegalMoveError when the cause makes no sense in this state.
    """
    if state in ALREADY_THERE.get(cause, frozenset()):
        return state
    try:
        return MOVES[state, cause]
    except KeyError:
        raise IllegalMoveError(state, cause) from None
