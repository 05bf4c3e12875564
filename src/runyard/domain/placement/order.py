"""The line: classes, arrival within a class, and how those that wait long move up."""

from collections.abc import Iterable, Iterator
from operator import itemgetter

from runyard.domain.placement.demand import Waiting

RANK = {"urgent": 0, "high": 1, "normal": 2, "low": 3}
AGE_SECONDS = 12 * 3600.0
"""After so long in line a job counts as one of the class above, `high` at most: urgent is a person's word."""

ARRIVAL = itemgetter(Waiting._fields.index("arrived"), Waiting._fields.index("job_id"))


def rank(priority: str, since: float, now: float) -> int:
    """Of the class that a job counts as by now, having waited since then; 0 is the highest."""
    own = RANK[priority]
    if own <= RANK["high"] or now - since < AGE_SECONDS:
        return own
    return max(RANK["high"], own - int((now - since) // AGE_SECONDS))


def ages(priority: str) -> Iterator[tuple[int, float]]:
    """The ranks that a class may count as, highest first, each with the seconds after which it does."""
    own = RANK[priority]
    for rank_ in range(min(own, RANK["high"]), own + 1):
        yield rank_, (own - rank_) * AGE_SECONDS


def line(queue: Iterable[Waiting], now: float) -> Iterator[Waiting]:
    """First come, first served within a class."""
    classes: list[list[Waiting]] = [[] for _ in RANK]
    aged = now - AGE_SECONDS
    for job in queue:
        since = job.arrived if job.back is None else job.back
        classes[RANK[job[1]] if since > aged else rank(job[1], since, now)].append(job)
    for jobs in classes:
        yield from sorted(jobs, key=ARRIVAL)
