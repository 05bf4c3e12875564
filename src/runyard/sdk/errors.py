"""What can go wrong on the caller's side of the wire.

ClientError
├── JobFileError     the job file can't be used; has `problems`, each with its line
├── NoServerError    nobody answers at the address
├── ApiError         the server refused; has `status`, `details` and, where it said so, `retry_after` seconds
├── AmbiguousError   a shortened job id or name fits more than one job
└── ChecksumError    what came over the wire is not what the server recorded
"""

from collections.abc import Sequence
from pathlib import Path

from runyard.protocol.problems import Problem
from runyard.schemas.problems import ProblemDetails


class ClientError(Exception):
    """`hint` says what to do, where that is known."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class JobFileError(ClientError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class NoServerError(ClientError, ConnectionError):
    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"no server answers at {url} ({cause})",
            hint="start one with `runyard serve`, or give its address with --url or RUNYARD_URL",
        )
        self.url = url
        self.cause = cause


class ApiError(ClientError):
    def __init__(self, status: int, details: ProblemDetails, retry_after: float | None = None) -> None:
        super().__init__(details.detail or details.title, hint=details.hint)
        self.status = status
        self.details = details
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        return self.details.code

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(self.details.problems)


class AmbiguousError(ClientError):
    pass


class ChecksumError(ClientError):
    def __init__(self, file: Path | str, wrong: Sequence[str]) -> None:
        super().__init__(
            f"{file}: not what the server recorded: {'; '.join(wrong)}",
            hint="nothing was kept; download it again",
        )
        self.wrong = tuple(wrong)
