"""How an attempt ended, judged from what its trainer said, how its process went, and what it wrote last."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runyard.domain import signs
from runyard.domain.lifecycle import Cause
from runyard.domain.reasons import Reason

EXIT_DISK_FULL = 74
EXIT_STOPPED = 75
SHELL_CODES = range(128 + signal.SIGHUP, 128 + signal.SIGTERM + 1)
"""What a shell ends with when a signal has ended its program."""
SAID = {"completed": Cause.COMPLETED, "stopped": Cause.STOPPED, "failed": Cause.FAILED}
WE_STOPPED = {
    "stalled": "it made no progress for longer than limits.stall_timeout allows",
    "timeout": "it ran for longer than limits.max_runtime allows",
}


@dataclass(frozen=True)
class Ending:
    """`said` is the trainer's `finished` event; `code` is None where there is no exit record, and `detail` says why;
    `restarted` if its machine was meanwhile.

    `stop_asked`: we wanted it to stop; `told`: it lived when that came to it, or when another asked the same of it.
    `stop_reason` says why we wanted it when it was not the user's wish (`stalled`, `timeout`).
    `log` is the end of its error stream. `oom_kills` counts the processes that the kernel ended for want of memory
    while it ran, where that can be known; `memory_limit_mb` is what it was held to.
    """

    said: Mapping[str, Any] | None = None
    code: int | None = None
    signal: int | None = None
    detail: str = ""
    restarted: bool = False
    stop_asked: bool = False
    told: bool = False
    stop_reason: str | None = None
    log: str = ""
    oom_kills: int | None = None
    memory_limit_mb: int | None = None


@dataclass(frozen=True)
class Verdict:
    cause: Cause
    reason: str | None = None
    message: str | None = None


def judge(ending: Ending) -> Verdict:
    """The trainer's own last word wins; without one, its exit tells. What we stopped for a reason fails with it."""
    verdict = _as_said(ending.said) if ending.said is not None else _as_seen(ending)
    if ending.stop_reason is not None and verdict.cause != Cause.COMPLETED:
        return Verdict(Cause.FAILED, ending.stop_reason, WE_STOPPED[ending.stop_reason])
    return verdict


def _as_said(said: Mapping[str, Any]) -> Verdict:
    cause = SAID[said["outcome"]]
    failed = cause == Cause.FAILED
    return Verdict(cause, said["reason"] or (Reason.ERROR.value if failed else None), said["message"] or None)


def _as_seen(ending: Ending) -> Verdict:
    if ending.restarted and ending.code is None:
        return _failed(Reason.MACHINE_RESTARTED, "its machine was restarted while it ran")
    if ending.code is None:
        return _failed(Reason.LOST, f"the trainer was lost: {ending.detail}")
    if ending.code == 0:
        # One that is told to leave may do so with code 0; only its word would tell that it had come to its end.
        return Verdict(Cause.STOPPED if ending.told else Cause.COMPLETED)
    was_asked = ending.told or ending.stop_asked
    if ending.code == EXIT_STOPPED or (was_asked and ending.code == 128 + signal.SIGTERM):
        return Verdict(Cause.STOPPED)  # a trainer that is still loading has nothing to save and may just end
    if ending.code == EXIT_DISK_FULL:
        return _failed(Reason.DISK_FULL, "no room left on the disk of the run folder")
    if ending.signal is not None or ending.code in SHELL_CODES:
        return _ended_by_signal(ending, ending.signal or ending.code - 128)
    reason, line = signs.read(ending.log)
    return _failed(reason or Reason.CRASHED, f"the trainer ended with code {ending.code}: {line or 'no word'}")


def _ended_by_signal(ending: Ending, number: int) -> Verdict:
    what = "the trainer" if ending.signal is not None else "a program of the trainer"
    text = f"{what} was ended by {_name(number)}"
    if number != signal.SIGKILL or ending.stop_asked:
        reason, line = signs.read(ending.log) if number == signal.SIGABRT else (None, "")
        return _failed(reason or Reason.KILLED, f"{text}: {line}" if reason else text)
    if ending.oom_kills:
        limit = f" (its limit is {ending.memory_limit_mb} MiB: resources.memory)" if ending.memory_limit_mb else ""
        return _failed(Reason.OUT_OF_MEMORY, f"main memory ran out{limit}, and {text}")
    return _failed(Reason.KILLED, f"{text}, which nobody here sent: most likely main memory ran out")


def _failed(reason: Reason, message: str) -> Verdict:
    return Verdict(Cause.FAILED, reason.value, message)


def _name(number: int) -> str:
    """Such as `SIGSEGV (Segmentation fault)`."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} ({signal.strsignal(number)})"
