"""What has been kept long enough: a pure rule over ended jobs, their checkpoints, and the cache."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from runyard.domain.lifecycle import State

DAY = 86400.0
What = Literal["job", "logs", "checkpoint", "cache"]


@dataclass(frozen=True)
class Policy:
    """Days after the end of a job; 0 keeps for ever. `cache_bytes` is the size of the cache; 0 for no limit."""

    completed_days: float = 90
    failed_days: float = 30
    """Cancelled ones, too."""
    logs_days: float = 7
    checkpoints_days: float = 1
    """Then only the best and the last stay."""
    cache_bytes: int = 20 * 10**9

    def of_job(self, state: str) -> float:
        return self.completed_days if state == State.COMPLETED else self.failed_days


class Ended(NamedTuple):
    """A job that has ended, and what is left of it; `checkpoints` are steps, `best` is one of them."""

    job_id: str
    name: str
    state: str
    ended_at: float
    kept: bool = False
    has_logs: bool = True
    checkpoints: tuple[int, ...] = ()
    best: int | None = None


class Item(NamedTuple):
    """`name` is that of the job, or of the thing in the cache."""

    what: What
    name: str
    why: str
    job_id: str | None = None
    step: int | None = None
    size_bytes: int = 0


class Cached(NamedTuple):
    """A thing in the cache. `used_at` is touched by whoever begins to use it."""

    name: str
    size_bytes: int
    used_at: float


def plan(jobs: Iterable[Ended], needed: Mapping[str, str], policy: Policy, now: float) -> tuple[list[Item], list[Item]]:
    """What goes, and which whole jobs would but for those that need them; `needed` gives the reason by job id."""
    items: list[Item] = []
    spared: list[Item] = []
    for job in jobs:
        age = now - job.ended_at
        days = policy.of_job(job.state)
        due = _passed(age, days)
        why = "it is to be kept" if job.kept else needed.get(job.job_id)
        if why is not None:
            spared += [Item("job", job.name, why, job.job_id)] if due else []
        elif due:
            items.append(Item("job", job.name, f"{job.state} more than {days:g} days ago", job.job_id))
        else:
            items += _parts(job, age, policy)
    return items, spared


def _parts(job: Ended, age: float, policy: Policy) -> Iterable[Item]:
    if job.has_logs and _passed(age, policy.logs_days):
        yield Item("logs", job.name, f"ended more than {policy.logs_days:g} days ago", job.job_id)
    if job.checkpoints and _passed(age, policy.checkpoints_days):
        spared = {job.best, max(job.checkpoints)}
        for step in sorted(set(job.checkpoints) - spared):
            yield Item("checkpoint", job.name, "neither the best nor the last", job.job_id, step)


def prune(cached: Sequence[Cached], in_use_since: float | None, limit: int) -> list[Item]:
    """What goes from the cache, least recently used first, until it fits.

    What was used since the oldest attempt under way began may be in use by it.
    """
    excess = sum(item.size_bytes for item in cached) - limit
    items: list[Item] = []
    for item in sorted(cached, key=lambda item: (item.used_at, item.name)):
        if not limit or excess <= 0 or (in_use_since is not None and item.used_at >= in_use_since):
            break
        items.append(Item("cache", item.name, "least recently used", size_bytes=item.size_bytes))
        excess -= item.size_bytes
    return items


def _passed(age: float, days: float) -> bool:
    return days > 0 and age > days * DAY
