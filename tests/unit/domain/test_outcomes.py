"""How an attempt ended, from what was said and what was seen."""

from typing import Any, get_args

import pytest

from runyard.domain.lifecycle import Cause
from runyard.domain.outcomes import Ending, Verdict, judge
from runyard.domain.reasons import Reason
from runyard.protocol.events import FailureReason


def said(outcome: str, reason: str | None = None, message: str = "") -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason, "message": message}


STALLED = Verdict(Cause.FAILED, "stalled", "it made no progress for longer than limits.stall_timeout allows")


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [
        (Ending(said=said("completed"), code=0), Verdict(Cause.COMPLETED)),
        (Ending(said=said("completed"), code=137, signal=9), Verdict(Cause.COMPLETED)),
        (Ending(said=said("completed"), detail="gone"), Verdict(Cause.COMPLETED)),
        (Ending(said=said("stopped"), code=75), Verdict(Cause.STOPPED)),
        (Ending(said=said("failed", "bad_data", "row 3"), code=1), Verdict(Cause.FAILED, "bad_data", "row 3")),
        (Ending(said=said("failed"), code=1), Verdict(Cause.FAILED, "error")),
        (Ending(code=0), Verdict(Cause.COMPLETED)),
        (Ending(code=75), Verdict(Cause.STOPPED)),
        (Ending(code=74), Verdict(Cause.FAILED, "disk_full", "no room left on the disk of the run folder")),
        (Ending(code=143, signal=15, stop_asked=True), Verdict(Cause.STOPPED)),
        (Ending(code=143, stop_asked=True), Verdict(Cause.STOPPED)),
        (Ending(code=143, signal=15, told=True), Verdict(Cause.STOPPED)),
        (Ending(code=143, signal=15), Verdict(Cause.FAILED, "killed", "the trainer was ended by SIGTERM (Terminated)")),
        (
            Ending(code=137, signal=9, stop_asked=True),
            Verdict(Cause.FAILED, "killed", "the trainer was ended by SIGKILL (Killed)"),
        ),
        (
            Ending(code=137, signal=9, oom_kills=0),
            Verdict(
                Cause.FAILED,
                "killed",
                "the trainer was ended by SIGKILL (Killed), which nobody here sent: most likely main memory ran out",
            ),
        ),
        (
            Ending(code=137, signal=9, oom_kills=1),
            Verdict(
                Cause.FAILED, "out_of_memory", "main memory ran out, and the trainer was ended by SIGKILL (Killed)"
            ),
        ),
        (
            Ending(code=137, signal=9, oom_kills=1, memory_limit_mb=2048),
            Verdict(
                Cause.FAILED,
                "out_of_memory",
                "main memory ran out (its limit is 2048 MiB: resources.memory), and the trainer was ended by SIGKILL "
                "(Killed)",
            ),
        ),
        (
            Ending(code=137, oom_kills=1),
            Verdict(
                Cause.FAILED,
                "out_of_memory",
                "main memory ran out, and a program of the trainer was ended by SIGKILL (Killed)",
            ),
        ),
        (
            Ending(code=139, signal=11),
            Verdict(Cause.FAILED, "killed", "the trainer was ended by SIGSEGV (Segmentation fault)"),
        ),
        (
            Ending(code=134, signal=6, log="terminate called\n  what():  std::bad_alloc\n"),
            Verdict(
                Cause.FAILED, "out_of_memory", "the trainer was ended by SIGABRT (Aborted): what():  std::bad_alloc"
            ),
        ),
        (
            Ending(code=164, signal=36),
            Verdict(Cause.FAILED, "killed", "the trainer was ended by signal 36"),
        ),
        (
            Ending(code=200),
            Verdict(Cause.FAILED, "crashed", "the trainer ended with code 200: no word"),
        ),
        (
            Ending(code=1, log="ValueError: no\n\n\0\n"),
            Verdict(Cause.FAILED, "crashed", "the trainer ended with code 1: ValueError: no"),
        ),
        (Ending(code=137, signal=9, stop_asked=True, stop_reason="stalled"), STALLED),
        (Ending(said=said("stopped"), code=75, stop_asked=True, stop_reason="stalled"), STALLED),
        (Ending(said=said("completed"), code=0, stop_asked=True, stop_reason="stalled"), Verdict(Cause.COMPLETED)),
        (Ending(code=0, stop_asked=True, told=True, stop_reason="stalled"), STALLED),
        (Ending(code=0, stop_asked=True, stop_reason="stalled"), Verdict(Cause.COMPLETED)),
        (Ending(code=0, stop_asked=True, told=True), Verdict(Cause.STOPPED)),
        (Ending(code=0, told=True), Verdict(Cause.STOPPED)),
        (Ending(code=0, stop_asked=True), Verdict(Cause.COMPLETED)),
        (Ending(said=said("completed"), code=0, stop_asked=True, told=True), Verdict(Cause.COMPLETED)),
        (
            Ending(code=75, stop_asked=True, stop_reason="timeout"),
            Verdict(Cause.FAILED, "timeout", "it ran for longer than limits.max_runtime allows"),
        ),
        (
            Ending(detail="it is gone"),
            Verdict(Cause.FAILED, "lost", "the trainer was lost: it is gone"),
        ),
        (
            Ending(detail="the machine was restarted", restarted=True),
            Verdict(Cause.FAILED, "machine_restarted", "its machine was restarted while it ran"),
        ),
    ],
)
def test_verdicts(ending: Ending, verdict: Verdict) -> None:
    assert judge(ending) == verdict


def test_whatever_a_trainer_says_is_in_the_one_vocabulary() -> None:
    assert set(get_args(FailureReason)) <= {reason.value for reason in Reason}
