"""What follows a try that ended."""

import pytest

from runyard.domain.lifecycle import MOVES, Cause, State
from runyard.domain.outcomes import Verdict
from runyard.domain.retries import LONGEST_SECONDS, Tries, consequence, idle, limit, pause

KILLED = Verdict(Cause.FAILED, "killed", "the trainer was ended by SIGKILL")
CRASHED = Verdict(Cause.FAILED, "crashed", "the trainer ended with code 1")
STOPPED = Verdict(Cause.STOPPED)


@pytest.mark.parametrize(
    ("reason", "wanted", "tries"),
    [
        ("lost", None, 2), ("machine_restarted", None, 2), ("killed", None, 2), ("stalled", None, 2),
        ("crashed", None, 0), ("error", None, 0),
        ("killed", 0, 0), ("crashed", 5, 5), ("disk_full", 3, 3), ("bad_data", 5, 0), ("bad_config", 5, 0),
        ("timeout", None, 0), (None, None, 0),
    ],
)  # fmt: skip
def test_how_many_tries_follow(reason: str | None, wanted: int | None, tries: int) -> None:
    assert limit(reason, wanted) == tries


def test_pauses_double_up_to_a_limit() -> None:
    assert [pause(failures, 10) for failures in range(4)] == [10, 20, 40, 80]
    assert pause(1000, 10) == LONGEST_SECONDS
    assert pause(3, 7200) == 7200


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        ([], 0), ([(0, 0)], 0), ([(5, 9)], 0), ([(0, 0)] * 4, 3),
        ([(0, 5), (0, 0)], 1),
        ([(0, 5), (0, 5), (0, 6)], 0),
        ([(0, 900), (10, 15), (20, 25)], 0),
        ([(10, 15), (0, 10), (10, 15)], 2),
    ],
)  # fmt: skip
def test_tries_that_come_no_further_are_counted(tries: list[tuple[int, int]], expected: int) -> None:
    assert idle(tries) == expected


@pytest.mark.parametrize(
    ("verdict", "state", "tries", "expected"),
    [
        (KILLED, State.RUNNING, Tries(), (Cause.RETRIED, 10)),
        (KILLED, State.STARTING, Tries(failures=1), (Cause.RETRIED, 20)),
        (KILLED, State.RUNNING, Tries(failures=2), (Cause.FAILED, None)),
        (KILLED, State.RUNNING, Tries(wanted=0), (Cause.FAILED, None)),
        (CRASHED, State.RUNNING, Tries(), (Cause.FAILED, None)),
        (CRASHED, State.RUNNING, Tries(wanted=1), (Cause.RETRIED, 10)),
        (KILLED, State.PAUSING, Tries(), (Cause.RETRIED, None)),
        (CRASHED, State.PAUSING, Tries(), (Cause.FAILED, None)),
        (KILLED, State.PAUSING, Tries(returns=True), (Cause.YIELDED, 10)),
        (KILLED, State.CANCELLING, Tries(), (Cause.FAILED, None)),
        (STOPPED, State.PAUSING, Tries(), (Cause.STOPPED, None)),
        (STOPPED, State.PAUSING, Tries(returns=True), (Cause.YIELDED, None)),
        (STOPPED, State.RUNNING, Tries(failures=7), (Cause.STOPPED, LONGEST_SECONDS)),
        (STOPPED, State.RUNNING, Tries(), (Cause.STOPPED, 10)),
        (STOPPED, State.RUNNING, Tries(idle=2), (Cause.STOPPED, 40)),
        (STOPPED, State.STARTING, Tries(idle=3, failures=1), (Cause.STOPPED, 80)),
        (Verdict(Cause.COMPLETED), State.RUNNING, Tries(failures=1), (Cause.COMPLETED, None)),
        (Verdict(Cause.COMPLETED), State.PAUSING, Tries(returns=True), (Cause.COMPLETED, None)),
    ],
)
def test_consequences(verdict: Verdict, state: State, tries: Tries, expected: tuple[Cause, float | None]) -> None:
    assert consequence(verdict, state, tries, 10) == expected


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.PAUSING, State.CANCELLING])
@pytest.mark.parametrize("verdict", [KILLED, CRASHED, STOPPED, Verdict(Cause.COMPLETED)])
@pytest.mark.parametrize("tries", [Tries(), Tries(failures=9), Tries(returns=True), Tries(wanted=3)])
def test_every_end_has_a_legal_consequence(verdict: Verdict, state: State, tries: Tries) -> None:
    cause, _ = consequence(verdict, state, tries)
    assert (state, cause) in MOVES
