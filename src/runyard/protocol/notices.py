"""What people can be told about a job."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


class Occasion(StrEnum):
    """A state that a job has come to; the last two are no states."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STALLED = "stalled"
    """It made no progress for too long, and was stopped; what becomes of it is told apart."""
    NEVER_STARTS = "never_starts"
    """It waits for what no machine has."""


NEEDS_YOU = "needs_you"
"""Short for those that somebody has to see to."""
SEEN_TO = (Occasion.FAILED, Occasion.STALLED, Occasion.NEVER_STARTS)
USUAL = (Occasion.COMPLETED, *SEEN_TO)


def _expanded(value: Any) -> Any:
    """`needs_you` in full."""
    if not isinstance(value, list | tuple):
        return value
    return [one for item in value for one in (SEEN_TO if item == NEEDS_YOU else (item,))]


def each_once(values: list[str]) -> list[str]:
    """In the order in which they came first."""
    return list(dict.fromkeys(values))


Occasions = Annotated[
    list[Occasion],
    BeforeValidator(_expanded, json_schema_input_type=list[Occasion | Annotated[str, Field(pattern=f"^{NEEDS_YOU}$")]]),
    AfterValidator(each_once),
]
"""Each once; `needs_you` stands for failed, stalled and never_starts."""
