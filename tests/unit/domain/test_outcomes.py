"""How an attempt ended, from what was said and what was seen."""

from typing import Any

import pytest

from runyard.domain.lifecycle import Cause
from runyard.domain.outcomes import Ending, Verdict, judge


def said(outcome: str, reason: str | None = None, message: str = "") -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason, "message": message}


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
        (Ending(code=143, signal=15), Verdict(Cause.FAILED, "killed", "the trainer was ended by SIGTERM")),
        (
            Ending(code=137, signal=9, stop_asked=True),
            Verdict(Cause.FAILED, "killed", "the trainer was ended by SIGKILL"),
        ),
        (Ending(code=164, signal=36), Verdict(Cause.FAILED, "killed", "the trainer was ended by signal 36")),
        (
            Ending(code=1, last_line="ValueError: no"),
            Verdict(Cause.FAILED, "crashed", "the trainer ended with code 1: ValueError: no"),
        ),
        (
            Ending(detail="the machine was restarted"),
            Verdict(Cause.FAILED, "lost", "the trainer was lost: the machine was restarted"),
        ),
    ],
)
def test_verdicts(ending: Ending, verdict: Verdict) -> None:
    assert judge(ending) == verdict
