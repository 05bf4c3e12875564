"""What went on over the days: GPU-hours, waits, failures, throughput."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

DAY = 86_400.0
WEEK = 7 * DAY
FIRST_MONDAY = 4 * DAY
"""1 January 1970 was a Thursday."""
Step = Literal["day", "week"]


class Stay(NamedTuple):
    """An attempt that held GPUs; `ended` is None while it does."""

    user: str
    gpus: int
    began: float
    ended: float | None


class Wait(NamedTuple):
    """How long a job stood in line before it was placed."""

    user: str
    placed_at: float
    seconds: float


class End(NamedTuple):
    """A job that ended; `reason` is why it failed."""

    user: str
    at: float
    state: str
    reason: str | None
    throughput: float | None


@dataclass
class Share:
    """Of a user."""

    gpu_hours: float = 0.0
    ended: int = 0
    failed: int = 0


@dataclass
class Period:
    start: float
    end: float
    gpu_hours: float = 0.0
    ended: int = 0
    completed: int = 0
    speeds: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    users: defaultdict[str, Share] = field(default_factory=lambda: defaultdict(Share))

    @property
    def throughput(self) -> float | None:
        return sum(self.speeds) / len(self.speeds) if self.speeds else None


def periods(since: float, until: float, step: Step) -> list[Period]:
    """Whole days, or weeks from Monday on, in UTC, that a span of time touches."""
    length, offset = (DAY, 0.0) if step == "day" else (WEEK, FIRST_MONDAY)
    first = math.floor((since - offset) / length)
    last = max(first, math.ceil((until - offset) / length) - 1)
    return [Period(offset + n * length, offset + (n + 1) * length) for n in range(first, last + 1)]


def fill(
    found: Sequence[Period], stays: Iterable[Stay], waits: Iterable[Wait], ends: Iterable[End], now: float
) -> None:
    """Give each period what fell into it: an attempt counts in each for as long as it lasted there."""
    for stay in stays:
        until = now if stay.ended is None else stay.ended
        for period in found:
            seconds = min(until, period.end) - max(stay.began, period.start)
            if seconds > 0 and stay.gpus:
                period.gpu_hours += stay.gpus * seconds / 3600
                period.users[stay.user].gpu_hours += stay.gpus * seconds / 3600
    for wait in waits:
        if (here := _period(found, wait.placed_at)) is not None:
            here.waits.append(wait.seconds)
    for end in ends:
        if (here := _period(found, end.at)) is not None:
            _count(here, end)


def _count(period: Period, end: End) -> None:
    share = period.users[end.user]
    share.ended += 1
    period.ended += 1
    if end.state == "completed":
        period.completed += 1
        if end.throughput is not None:
            period.speeds.append(end.throughput)
    elif end.state == "failed":
        share.failed += 1
        period.failures[end.reason or "unknown"] += 1


def _period(found: Sequence[Period], at: float) -> Period | None:
    if not found or not found[0].start <= at < found[-1].end:
        return None
    return found[int((at - found[0].start) // (found[0].end - found[0].start))]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many percent do not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]
