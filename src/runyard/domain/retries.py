"""What the end of a try means for its job: is there another, and when."""

from collections.abc import Iterable
from dataclasses import dataclass

from runyard.domain.lifecycle import Cause, State
from runyard.domain.outcomes import Verdict

DEFAULT = 2
FIRST_SECONDS, LONGEST_SECONDS = 10.0, 600.0
MOST_SECONDS = 3600.0
"""Of any pause, whatever is set."""

OURS = frozenset({"lost", "machine_restarted", "killed", "stalled"})
"""Failures of the place rather than of the job: tried again unless the job says otherwise."""
HOPELESS = frozenset({"bad_data", "bad_config", "model_not_found", "missing_package", "not_started", "merge_differs"})
"""Failures that another try can only repeat."""


@dataclass(frozen=True)
class Tries:
    """`failures` in a row before this try; `idle` ones in a row up to this, that came no further; `wanted` retries,
    where the job says how many; `returns` if it was being paused and was to go on by itself."""

    failures: int = 0
    idle: int = 0
    wanted: int | None = None
    returns: bool = False


def limit(reason: str | None, wanted: int | None) -> int:
    """Tries that may follow a failure by themselves."""
    if reason in HOPELESS:
        return 0
    return wanted if wanted is not None else DEFAULT * (reason in OURS)


def pause(failures: int, first: float = FIRST_SECONDS) -> float:
    """Seconds until the next try, after so many failures in a row before this one."""
    return float(min(first * 2.0 ** min(failures, 30), max(first, LONGEST_SECONDS)))


def idle(tries: Iterable[tuple[int, int]]) -> int:
    """How many of the last tries came no further than all before them. Of each, oldest first: the step of its newest
    checkpoint, and the step that it came to."""
    count = -1  # there is none before the first that it could come further than
    saved, reached = 0, 0
    for checkpoint, step in tries:
        count = 0 if checkpoint > saved or step > reached else count + 1
        saved, reached = max(saved, checkpoint), max(reached, step)
    return max(0, count)


def consequence(
    verdict: Verdict, state: State, tries: Tries, first: float = FIRST_SECONDS
) -> tuple[Cause, float | None]:
    """The cause that moves a job in this state, and the seconds it has to wait at least before it starts again."""
    seconds = pause(tries.failures, first)
    may_retry = tries.failures < limit(verdict.reason, tries.wanted)
    match verdict.cause, state:
        case Cause.STOPPED, State.PAUSING if tries.returns:
            return Cause.YIELDED, None
        case Cause.FAILED, State.PAUSING if tries.returns and may_retry:
            return Cause.YIELDED, seconds
        case Cause.STOPPED, State.STARTING | State.RUNNING:
            # Nobody here asked it to: it must not be started over and over.
            return Cause.STOPPED, pause(max(tries.failures, tries.idle), first)
        case Cause.FAILED, State.STARTING | State.RUNNING if may_retry:
            return Cause.RETRIED, seconds
        case Cause.FAILED, State.PAUSING if may_retry:
            return Cause.RETRIED, None
    return verdict.cause, None
