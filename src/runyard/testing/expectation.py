"""What the history of a job must amount to, told from how each of its trainers really ended.

It is written down a second time on purpose, and shares no rule with the engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runyard.db.tables import Attempt, Job, Move
from runyard.testing.memory_executor import Pretended

ASKED: dict[str, dict[str, str]] = {
    "pause_asked": {"queued": "paused", "starting": "pausing", "running": "pausing", "pausing": "pausing"}
    | {"paused": "paused"},
    "cancel_asked": {"queued": "cancelled", "paused": "cancelled", "cancelled": "cancelled"}
    | dict.fromkeys(("starting", "running", "pausing", "cancelling"), "cancelling"),
    "resume_asked": {"paused": "queued"} | {state: state for state in ("queued", "starting", "running", "pausing")},
    "retry_asked": {"failed": "queued", "cancelled": "queued"}
    | {state: state for state in ("queued", "starting", "running")},
}
"""The state after a wish, by the one before; where there is none it is refused."""
WISHED: dict[str | None, set[str]] = {
    "pause_asked": {"pausing", "paused", "completed", "failed"},
    "cancel_asked": {"cancelling", "cancelled", "completed"},
    None: {"queued", "starting", "running", "completed", "failed"},
}
"""States that a job may be in, by what was last asked of it."""
AT_REST = {"completed", "failed", "cancelled", "paused"}
SENT = {"pausing": "save", "cancelling": "discard"}
RETRIED_BY_ITSELF = {"killed": 2, "lost": 2, "stalled": 2, "not_started": 0}
ENDS = {"completed", "stopped", "failed", "retried", "yielded"}
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0


@dataclass
class Told:
    """What a job was asked to do, and what its trainers said."""

    retries: int | None
    resumable: bool
    lines: list[tuple[int, str]] = field(default_factory=list)
    """Attempt and type of each event, in order."""
    curve: dict[int, float] = field(default_factory=dict)
    saved: list[int] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    """Every cause that a person gave and that changed something."""
    wish: str | None = None
    wished_at: int = 0
    reconsidered: dict[int, str] = field(default_factory=dict)
    """What was last asked of an attempt while it was being paused."""
    last_words: dict[int, str] = field(default_factory=dict)
    saves: dict[int, int] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    """How far each attempt came."""


@dataclass
class _Walk:
    is_punctual: bool
    stands: str = "queued"
    attempts: int = 0
    failures: int = 0
    idle: int = -1
    saved: int = 0
    reached: int = 0
    returns: bool = False
    not_before: float = 0.0
    ended: set[int] = field(default_factory=set)


def verify(
    told: Told,
    job: Job,
    moves: Sequence[Move],
    attempts: Sequence[Attempt],
    processes: Mapping[str, Pretended],
    *,
    is_punctual: bool,
) -> None:
    """Go through the moves of a job and see that each was due.

    `is_punctual`: no clock was set back, and no former leader can place what it had planned.
    """
    walk = _Walk(is_punctual)
    assert moves[0].before is None or moves[0].before == "queued"
    for move in moves:
        if move.before is None:
            continue
        assert move.before == walk.stands, f"{move.cause} from {move.before}, but it was {walk.stands}"
        _follow(walk, told, move, attempts, processes)
        walk.stands = move.after
    assert (job.state, job.attempts, job.failures) == (walk.stands, walk.attempts, walk.failures)
    assert [move.cause for move in moves if move.actor == "me"] == told.moves
    assert [attempt.number for attempt in attempts] == list(range(1, walk.attempts + 1))
    assert walk.ended == {attempt.number for attempt in attempts}


def _follow(
    walk: _Walk, told: Told, move: Move, attempts: Sequence[Attempt], processes: Mapping[str, Pretended]
) -> None:
    if move.cause in ASKED:
        assert move.after == ASKED[move.cause][walk.stands]
        if move.cause in ("resume_asked", "retry_asked"):
            walk.failures, walk.not_before = 0, 0.0
        if move.after == "pausing":
            walk.returns = told.reconsidered.get(walk.attempts) == "resume_asked"
    elif move.cause == "placed":
        walk.attempts += 1
        assert (move.attempt, move.after) == (walk.attempts, "starting")
        assert move.at >= walk.not_before or not walk.is_punctual, "it was to wait for longer"
    elif move.cause == "preempted":
        assert told.resumable
        walk.returns = told.reconsidered.get(walk.attempts) != "pause_asked"
    elif move.cause in ENDS:
        attempt = attempts[walk.attempts - 1]
        assert move.attempt == attempt.number not in walk.ended
        assert (move.cause, move.after) == _end(walk, told, attempt, processes.get(attempt.id))
        walk.ended.add(attempt.number)
        _note_how_far(walk, told, attempt.number)
        times = max(walk.failures, walk.idle) if move.cause == "stopped" else walk.failures
        is_to_wait = move.after == "queued" and move.cause != "yielded"
        walk.not_before = move.at + (min(FIRST_PAUSE * 2**times, LONGEST_PAUSE) if is_to_wait else 0.0)
        walk.failures += move.cause == "retried"
        walk.returns = False
    else:
        assert (move.cause, move.before, move.after) == ("started", "starting", "running")


def _note_how_far(walk: _Walk, told: Told, attempt: int) -> None:
    saved, reached = told.saves.get(attempt, 0), told.steps.get(attempt, 0)
    walk.idle = 0 if saved > walk.saved or reached > walk.reached else walk.idle + 1
    walk.saved, walk.reached = max(walk.saved, saved), max(walk.reached, reached)


def _end(walk: _Walk, told: Told, attempt: Attempt, process: Pretended | None) -> tuple[str, str]:
    """Cause and state."""
    outcome, reason = _outcome(told, attempt, process)
    if outcome == "completed":
        return "completed", "completed"
    if walk.stands == "cancelling":
        return outcome, "cancelled"
    allowed = told.retries if told.retries is not None else RETRIED_BY_ITSELF.get(reason, 0)
    again = outcome == "failed" and reason != "not_started" and walk.failures < allowed
    if walk.returns and (again or outcome == "stopped"):
        return "yielded", "queued"
    if outcome == "stopped":
        return "stopped", "paused" if walk.stands == "pausing" else "queued"
    if again:
        return "retried", "paused" if walk.stands == "pausing" else "queued"
    return "failed", "failed"


def _outcome(told: Told, attempt: Attempt, process: Pretended | None) -> tuple[str, str]:
    """`completed`, `stopped` or `failed`, and why."""
    if process is None:
        return ("failed", "not_started") if attempt.reason == "not_started" else ("stopped", "")
    code = process.exit.code if process.exit else None
    assert attempt.exit_code == code, "the exit record is what counts"
    assert attempt.exit_signal == (process.exit.signal if process.exit else None)
    word = told.last_words.get(attempt.number)
    outcome, reason = (word, "") if word else _seen(code, process)
    if attempt.stop_reason and outcome != "completed":
        outcome, reason = "failed", attempt.stop_reason
    if not word:
        assert (attempt.reason or "") == reason
    return outcome, reason


def _seen(code: int | None, process: Pretended) -> tuple[str, str]:
    was_told = process.exit is not None and process.exit.told
    match code:
        case 0 if not was_told:
            return "completed", ""
        case 0 | 75:
            return "stopped", ""
        case 143 if was_told:
            return "stopped", ""
        case 143 | 137:
            return "failed", "killed"
        case None:
            return "failed", "lost"
    return "failed", "crashed"
