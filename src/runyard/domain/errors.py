"""Everything a caller can be told went wrong.

RunyardError                 status  500
├── NotSignedInError                 401
├── ForbiddenError                   403
├── NotFoundError                    404
├── IllegalMoveError                 409
├── KeyReusedError                   409
├── NotReadyError                    409
├── InUseError                       409
├── InvalidError                     422   with a list of problems, each with its field
├── TooLargeError                    413
├── QueueFullError                   429
├── OverQuotaError                   429
├── TooManyRequestsError             429   with the seconds to wait
├── DatabaseDownError                503
├── NoRoomError                      507
└── NewerDatabaseError               500   at start only
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from runyard.protocol.problems import Problem


class RunyardError(Exception):
    """`code` is stable and for programs, the message is for people, `hint` says what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong in the server"
    retry_after: int | None = None
    """Seconds after which the same request may well succeed."""

    def __init__(self, message: str, *, hint: str | None = None, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)


class NotSignedInError(RunyardError):
    status = 401
    code = "not_signed_in"
    title = "Sign in first"


class ForbiddenError(RunyardError):
    status = 403
    code = "forbidden"
    title = "Not allowed"


class NotFoundError(RunyardError):
    status = 404
    code = "not_found"
    title = "Not found"


class IllegalMoveError(RunyardError):
    status = 409
    code = "illegal_move"
    title = "Not possible in this state"

    def __init__(self, state: str, cause: str) -> None:
        verb = cause.removesuffix("_asked")
        super().__init__(f"a {state} job can't be {PAST.get(verb, verb)}", hint=HINTS.get((verb, state)))


class KeyReusedError(RunyardError):
    status = 409
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"


class NotReadyError(RunyardError):
    status = 409
    code = "not_ready"
    title = "Not there yet"


class InUseError(RunyardError):
    status = 409
    code = "in_use"
    title = "Still needed"


class InvalidError(RunyardError):
    status = 422
    code = "invalid"
    title = "The request can't be used as it is"


class TooLargeError(RunyardError):
    status = 413
    code = "too_large"
    title = "Too large"


class QueueFullError(RunyardError):
    status = 429
    code = "queue_full"
    title = "The queue is full"


class OverQuotaError(RunyardError):
    status = 429
    code = "over_quota"
    title = "The quota is used up"


class TooManyRequestsError(RunyardError):
    status = 429
    code = "too_many_requests"
    title = "Too many requests"

    def __init__(self, message: str, seconds: float, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = max(1, math.ceil(seconds))


class DatabaseDownError(RunyardError):
    status = 503
    code = "database_down"
    title = "The database does not answer"
    retry_after = 1

    def __init__(self) -> None:
        super().__init__(
            "the database does not answer now",
            hint="ask again in a moment; with an Idempotency-Key nothing is done twice",
        )


class NoRoomError(RunyardError):
    status = 507
    code = "no_room"
    title = "No room on the disk"


class NewerDatabaseError(RunyardError):
    code = "newer_database"
    title = "The database belongs to a newer version"

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"the database is at revision {revision}, which this version of Runyard doesn't know",
            hint="install the newer version of Runyard again, or use another database",
        )


PAST = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "retried"}
HINTS = {
    ("resume", "failed"): "retry it: it goes on from its last checkpoint",
    ("resume", "cancelled"): "retry it: it goes on from its last checkpoint",
    ("retry", "paused"): "resume it",
    ("retry", "completed"): "submit it again as a new job",
}
