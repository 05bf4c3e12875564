"""What a benchmark found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """`holds` says whether the promise was kept in this run."""

    name: str
    promise: str
    found: str
    detail: str
    holds: bool
