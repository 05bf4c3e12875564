"""Why a run failed, as one of the reasons that the server and its advice know."""

import errno

from runyard.data.errors import DataError
from runyard.protocol.events import FailureReason

DISK_FULL_SIGNS = ("No space left on device", "os error 28", "Disk quota exceeded", "inline_container.cc")
"""How safetensors and torch say it; torch's file writer (inline_container) has no other reason to fail a write."""


class TrainingError(Exception):
    """A failure whose reason is known where it happens; the message is for the user."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def classify(error: BaseException) -> tuple[FailureReason, str]:
    """The reason and a message without a traceback."""
    match error:
        case TrainingError():
            return error.reason, str(error)
        case DataError():
            return "bad_data", str(error)
        case ImportError():
            return "missing_package", f"{error}: install it with pip install 'runyard[llm]'"
        case OSError() if is_disk_full(error):
            return "disk_full", f"no room left on the disk of {error.filename or 'the run folder'}"
    if type(error).__name__ == "NoMatchingPeftModuleError":
        return "bad_config", f"adapter.target_modules: {_first_line(error)}"
    if memory := _memory_that_ran_out(error):
        return memory, f"out of memory: {_first_line(error)}"
    if is_disk_full(error):
        return "disk_full", f"no room left on disk: {_first_line(error)}"
    return "error", f"{type(error).__name__}: {_first_line(error)}"


def _memory_that_ran_out(error: BaseException) -> FailureReason | None:
    """That of the GPU, or main memory; None for another error."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or (isinstance(error, RuntimeError) and "CUDA out of memory" in text):
        return "gpu_out_of_memory"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text):
        return "out_of_memory"
    return None


def is_disk_full(error: BaseException) -> bool:
    """Libraries report a full disk in their own exceptions, some with the system's as a cause, some only by text."""
    for each in (error, error.__cause__, error.__context__):
        if isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
    text = str(error)
    return any(sign in text for sign in DISK_FULL_SIGNS)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else "no message"
