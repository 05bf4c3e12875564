"""Why an attempt failed: one word for each cause, for programs. `docs/failures.md` says it in sentences."""

from enum import StrEnum


class Reason(StrEnum):
    """The first ones can be said by a trainer (`protocol.events.FailureReason`); the rest are seen from outside."""

    BAD_DATA = "bad_data"
    BAD_CONFIG = "bad_config"
    MODEL_NOT_FOUND = "model_not_found"
    MISSING_PACKAGE = "missing_package"
    GPU_OUT_OF_MEMORY = "gpu_out_of_memory"
    OUT_OF_MEMORY = "out_of_memory"
    """Main memory, not that of a GPU."""
    LOSS_NOT_FINITE = "loss_not_finite"
    LOSS_EXPLODED = "loss_exploded"
    DISK_FULL = "disk_full"
    MERGE_DIFFERS = "merge_differs"
    ERROR = "error"

    MISSING_FILE = "missing_file"
    CRASHED = "crashed"
    """It ended with another code than 0, and nothing tells more about why."""
    KILLED = "killed"
    """A signal ended it that nobody here had sent."""
    STALLED = "stalled"
    TIMEOUT = "timeout"
    LOST = "lost"
    """Its process is gone without an exit record: it was killed together with its wrapper."""
    MACHINE_RESTARTED = "machine_restarted"
    NOT_STARTED = "not_started"
