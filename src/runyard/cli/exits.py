"""How a command ends: one line on standard error, and a code that scripts can rely on."""

import sys
from enum import IntEnum


class Code(IntEnum):
    OK = 0
    JOB_FAILED = 1
    BAD_INPUT = 2
    NOT_FOUND = 3
    REFUSED = 4
    NO_SERVER = 5
    CANCELLED = 6
    PAUSED = 7
    SERVER_FAILED = 8
    NOT_SIGNED_IN = 9
    INTERRUPTED = 130


MEANINGS = (
    "Exit codes: 0 done · 1 the job failed · 2 bad input or usage · 3 not found · 4 not allowed, refused in this state,"
    " or no room · 5 no server · 8 the server failed · 9 not signed in · 130 interrupted."
    " Watching: 0 completed · 1 failed · 6 cancelled · 7 paused."
)

STATUS_CODES = {
    400: Code.BAD_INPUT, 401: Code.NOT_SIGNED_IN, 403: Code.REFUSED, 404: Code.NOT_FOUND, 409: Code.REFUSED,
    413: Code.BAD_INPUT, 415: Code.BAD_INPUT, 422: Code.BAD_INPUT, 429: Code.REFUSED, 507: Code.REFUSED,
}  # fmt: skip


def report(error: Exception) -> Code | None:
    """Say what went wrong; the exit code, or None for an error that is a mistake in this program."""
    from runyard.domain.errors import RunyardError
    from runyard.sdk import errors

    if isinstance(error, errors.ClientError | RunyardError):
        for problem in getattr(error, "problems", ()) or (error,):
            say(str(problem), error.hint)
        return _code(error)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # who read our output has enough
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Code.BAD_INPUT
    return None


def _code(error: Exception) -> Code:
    from runyard.domain.errors import RunyardError
    from runyard.sdk import errors

    match error:
        case errors.NoServerError():
            return Code.NO_SERVER
        case errors.ApiError(status=status) | RunyardError(status=status):
            return STATUS_CODES.get(status, Code.SERVER_FAILED)
        case errors.ChecksumError():
            return Code.SERVER_FAILED
    return Code.BAD_INPUT


def say(message: str, hint: str | None = None) -> None:
    """Standard error is for people, one line an error, also when standard output is JSON."""
    print(f"error: {message}" + (f" ({hint})" if hint else ""), file=sys.stderr)
