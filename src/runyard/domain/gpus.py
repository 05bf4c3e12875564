"""Is a GPU free, and whose is what is on it? Judged from what its driver tells."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

MARGIN_MB = 256.0
"""Memory that may be missing where a driver keeps a little more after a program than before it."""
OTHERS_MB = 500.0
"""Memory that others may have without being in the way, such as a desktop's."""


@dataclass(frozen=True)
class Holder:
    """A process on a GPU. `nonce` is the attempt that it belongs to, if any; `memory_mb` is not always told."""

    pid: int
    memory_mb: float | None = None
    name: str = ""
    nonce: str | None = None

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})" if self.name else f"process {self.pid}"


@dataclass(frozen=True)
class Usage:
    """What is in use of one GPU, and who is on it as far as its driver tells."""

    memory_mb: float
    holders: tuple[Holder, ...] = ()

    def own_mb(self, ours: Collection[str]) -> float:
        """Memory in use that is not known to be somebody else's; `ours` are the attempts of this server."""
        return self.memory_mb - sum(holder.memory_mb or 0.0 for holder in self.others(ours))

    def others(self, ours: Collection[str]) -> list[Holder]:
        return [holder for holder in self.holders if holder.nonce not in ours]


@dataclass(frozen=True)
class Claim:
    """What an attempt had on one GPU. `baseline_mb` was in use before, where that is known; it can't be compared while
    the GPU is `shared` with other attempts of ours."""

    attempt: str
    baseline_mb: float | None = None
    shared: bool = False


def still_held(usage: Usage | None, claim: Claim, ours: Collection[str], alive: Collection[str]) -> str | None:
    """Why a GPU is not free of an attempt that has ended, or None if it is; `alive` are attempts with processes left.

    Memory is not looked at where there is nothing that tells it.
    """
    on_it = [] if usage is None else [holder for holder in usage.holders if holder.nonce == claim.attempt]
    if on_it:
        return f"{_names(on_it)} of a job that has ended is still on it"
    if claim.attempt in alive:
        return "a process of a job that has ended is still there"
    if usage is None or claim.baseline_mb is None or claim.shared:
        return None
    missing = usage.own_mb(ours) - claim.baseline_mb
    return f"{missing:.0f} MB of its memory did not come back when a job had ended" if missing > MARGIN_MB else None


def used_by_others(usage: Usage, ours: Collection[str], is_held: bool) -> str | None:
    """Why nothing may be started on a GPU that somebody else is using.

    While it `is_held` by an attempt of ours, memory that nobody is named for is taken for ours.
    """
    others = usage.others(ours)
    told = sum(holder.memory_mb or 0.0 for holder in others)
    is_ours = len(others) < len(usage.holders) or (is_held and not others)
    untold = 0.0 if is_ours else usage.memory_mb - told
    if max(told, untold) <= OTHERS_MB:
        return None
    if not others:
        return "in use by somebody who can't be seen from here"
    return f"in use by somebody else: {_names(others)}"  # what changes all the time would be told all the time


def _names(holders: Iterable[Holder]) -> str:
    return ", ".join(map(str, holders))
