"""What the end of an error stream says about a failure, by signs that are the same in every program."""

import re

from runyard.domain.reasons import Reason

LONGEST_LINE = 500

SIGNS: tuple[tuple[Reason, re.Pattern[str]], ...] = tuple(
    (reason, re.compile(pattern))
    for reason, pattern in (
        (Reason.NOT_STARTED, r"^could not start "),
        (
            Reason.GPU_OUT_OF_MEMORY,
            r"(CUDA|HIP|XPU) out of memory|CUDA error: out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"
            r"|CUDA_ERROR_OUT_OF_MEMORY|RESOURCE_EXHAUSTED: Out of memory",
        ),
        (
            Reason.OUT_OF_MEMORY,
            r"^(\w+\.)*_?\w*MemoryError\b|std::bad_alloc|DefaultCPUAllocator: |Cannot allocate memory|[Oo]om[- ]kill",
        ),
        (Reason.DISK_FULL, r"No space left on device|Disk quota exceeded|os error 28\b"),
        (
            Reason.MODEL_NOT_FOUND,
            r"is not a local folder and is not a valid model identifier|RepositoryNotFoundError|GatedRepoError",
        ),
        (
            Reason.MISSING_PACKAGE,
            r"^(ModuleNotFoundError|ImportError): |error while loading shared libraries: |: (command )?not found$"
            r"|PackageNotFoundError: ",
        ),
        (Reason.MISSING_FILE, r"^FileNotFoundError\b|: No such file or directory|can't open file "),
        (
            Reason.BAD_DATA,
            r"^(pandas\.errors|pandas\._libs\.\w+)\.(ParserError|EmptyDataError)|^pyarrow\.lib\.ArrowInvalid"
            r"|^UnicodeDecodeError: ",
        ),
        (
            Reason.LOSS_NOT_FINITE,
            r"(?i:\bloss (is|became|was|=) ?\(?(nan|-?inf)\b)|returned nan values in its|^FloatingPointError: ",
        ),
    )
)

EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning)(?::\s|$)")
"""The last line of a Python traceback."""
MESSENGER = re.compile(r"ChildFailedError|CalledProcessError|ProcessRaisedException|ProcessExitedException")
"""Exceptions that only tell of another one, which stands before them."""


def read(log: str) -> tuple[Reason | None, str]:
    """What the end of a log tells: the reason, where a sign of one is found, and the line that says most.

    An exception that was caught and printed earlier does not count when a later one ended the program.
    """
    lines = [line.strip()[:LONGEST_LINE] for line in log.replace("\0", "").splitlines() if line.strip()]
    start = _last_exception(lines)
    for line in reversed(lines[start or 0 :]):
        for reason, sign in SIGNS:
            if sign.search(line):
                return reason, line
    if start is not None:
        return None, next(line for line in lines[start:] if EXCEPTION.match(line))
    return None, lines[-1] if lines else ""


def _last_exception(lines: list[str]) -> int | None:
    """Where the exception begins that ended the program, or 0 where one only reports that another did."""
    found = [number for number, line in enumerate(lines) if EXCEPTION.match(line)]
    if not found:
        return None
    return 0 if MESSENGER.search(lines[found[-1]]) else found[-1]
