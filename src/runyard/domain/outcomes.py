"""How an attempt ended, judged from what its trainer said and how its process went."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runyard.domain.lifecycle import Cause

EXIT_DISK_FULL = 74
EXIT_STOPPED = 75
EXIT_BY_SIGTERM = 128 + signal.SIGTERM
SAID = {"completed": Cause.COMPLETED, "stopped": Cause.STOPPED, "failed": Cause.FAILED}


@dataclass(frozen=True)
class Ending:
    """`said` is the trainer's `finished` event; `code` is None where there is no exit record, and `detail` says why;
    `stop_asked` that we had told it to stop."""

    said: Mapping[str, Any] | None = None
    code: int | None = None
    signal: int | None = None
    detail: str = ""
    stop_asked: bool = False
    last_line: str = ""


@dataclass(frozen=True)
class Verdict:
    cause: Cause
    reason: str | None = None
    message: str | None = None


def judge(ending: Ending) -> Verdict:
    """The trainer's own last word wins; without one, its exit tells."""
    if ending.said is not None:
        cause = SAID[ending.said["outcome"]]
        failed = cause == Cause.FAILED
        return Verdict(cause, ending.said["reason"] or ("error" if failed else None), ending.said["message"] or None)
    if ending.code is None:
        return Verdict(Cause.FAILED, "lost", f"the trainer was lost: {ending.detail}")
    if ending.code == 0:
        return Verdict(Cause.COMPLETED)
    if ending.code == EXIT_STOPPED or (ending.stop_asked and ending.code == EXIT_BY_SIGTERM):
        return Verdict(Cause.STOPPED)  # a trainer that is still loading has nothing to save and may just end
    if ending.code == EXIT_DISK_FULL:
        return Verdict(Cause.FAILED, "disk_full", "no room left on the disk of the run folder")
    if ending.signal is not None:
        return Verdict(Cause.FAILED, "killed", f"the trainer was ended by {_name(ending.signal)}")
    return Verdict(
        Cause.FAILED, "crashed", f"the trainer ended with code {ending.code}: {ending.last_line or 'no word'}"
    )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
