"""How states are said and drawn: an icon and a word, always both."""

from runyard.domain.lifecycle import State
from runyard.domain.reasons import Reason

WORDS = {
    State.QUEUED: "Waiting",
    State.STARTING: "Starting",
    State.RUNNING: "Running",
    State.PAUSING: "Pausing",
    State.PAUSED: "Paused",
    State.CANCELLING: "Cancelling",
    State.COMPLETED: "Completed",
    State.FAILED: "Failed",
    State.CANCELLED: "Cancelled",
}
CAUSES = {
    Reason.BAD_DATA: "bad data",
    Reason.BAD_CONFIG: "settings that can't be used",
    Reason.MODEL_NOT_FOUND: "model not found",
    Reason.MISSING_PACKAGE: "a package is missing",
    Reason.GPU_OUT_OF_MEMORY: "out of GPU memory",
    Reason.OUT_OF_MEMORY: "out of memory",
    Reason.LOSS_NOT_FINITE: "loss became NaN",
    Reason.LOSS_EXPLODED: "loss exploded",
    Reason.DISK_FULL: "disk full",
    Reason.MERGE_DIFFERS: "merged model differs",
    Reason.ERROR: "an error in the trainer",
    Reason.MISSING_FILE: "a file is missing",
    Reason.CRASHED: "ended with an error",
    Reason.KILLED: "killed by a signal",
    Reason.STALLED: "stopped making progress",
    Reason.TIMEOUT: "ran longer than it may",
    Reason.LOST: "its process was lost",
    Reason.MACHINE_RESTARTED: "machine restarted",
    Reason.NOT_STARTED: "could not be started",
}
"""Failures in a few words; the sentence is in the job's message."""
KINDS = {"sft": "SFT", "dpo": "DPO", "script": "script", "forecast": "forecast", "anomaly": "anomaly"}


def word(state: str) -> str:
    return WORDS[State(state)]


def cause(reason: str | None) -> str:
    return CAUSES[Reason(reason)] if reason in set(Reason) else "an unknown cause"


def kind(name: str) -> str:
    return KINDS.get(name, name)
