"""What there is and what is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from runyard.domain.quotas import Book, By, Quota


class Needs(NamedTuple):
    """`gpus` is None for one GPU where there are any; `gpu_memory_mb` is of each GPU, None for whole ones."""

    gpus: int | None = None
    gpu_memory_mb: int | None = None
    cpus: float | None = None
    memory_mb: int | None = None


class Waiting(NamedTuple):
    """`arrived` is its place in line, `duration` the seconds that it is expected to take, where that is known. `back`
    is when it came back to its place, if it has run before.

    As flat as a row of the database, because there may be many. `resumable` tells those who see it start.
    """

    job_id: str
    priority: str
    arrived: float
    gpus: int | None = None
    gpu_memory_mb: int | None = None
    cpus: float | None = None
    memory_mb: int | None = None
    user: str = "local"
    duration: float | None = None
    back: float | None = None
    tenant: str = "main"
    resumable: bool = False

    @property
    def needs(self) -> Needs:
        return Needs(*self[3:7])


class Held(NamedTuple):
    """What an attempt holds until it is released. `gpus` are indices; an attempt without any has a slot.

    `ends` is when it is expected to end; `stopping` says that it was already told to.
    """

    job_id: str
    machine: str
    gpus: tuple[int, ...] = ()
    needs: Needs = Needs(0)
    priority: str = "normal"
    user: str = "local"
    started: float = 0.0
    ends: float | None = None
    resumable: bool = False
    stopping: bool = False
    tenant: str = "main"


@dataclass(frozen=True)
class Gpu:
    """`unusable` says why nothing may be started on it, such as `quarantined` or `used by somebody else`."""

    index: int
    memory_mb: int = 0
    unusable: str | None = None


@dataclass(frozen=True)
class Machine:
    """Jobs without GPUs share the `slots`. CPUs and memory are not counted where they are None."""

    name: str = "local"
    gpus: tuple[Gpu, ...] = ()
    slots: int = 1
    cpus: float | None = None
    memory_mb: int | None = None

    def without(self, unusable: Mapping[int, str]) -> "Machine":
        """The same with some GPUs left out, each with the reason."""
        return replace(self, gpus=tuple(replace(g, unusable=unusable.get(g.index, g.unusable)) for g in self.gpus))


class Share(NamedTuple):
    """What a user or a tenant may have at once; None is without limit. A share of a GPU counts as a GPU.

    `spent` says why nothing with GPUs may start: what there was of GPU-hours is used up.
    """

    running: int | None = None
    gpus: int | None = None
    spent: str | None = None


@dataclass(frozen=True)
class Quotas:
    """What users and tenants may have.

    `spent` has those, by user or tenant, whose GPU-hours are used up, with a sentence that says so.
    """

    book: Book = field(default_factory=Book)
    spent: Mapping[tuple[By, str], str] = field(default_factory=dict)
    _shares: dict[tuple[str, str], tuple[Share, Share]] = field(default_factory=dict, init=False, compare=False)

    def shares(self, user: str, tenant: str) -> tuple[Share, Share]:
        """Of a user and of the tenant; asked for every job in line, and the same for most."""
        if (user, tenant) not in self._shares:
            self._shares[user, tenant] = self._share("user", user, tenant), self._share("tenant", user, tenant)
        return self._shares[user, tenant]

    def _share(self, by: By, user: str, tenant: str) -> Share:
        limits = [self.book.limit(by, user, tenant, quota) for quota in (Quota.RUNNING, Quota.GPUS)]
        running, gpus = (None if limit is None else int(limit) for limit in limits)
        return Share(running, gpus, self.spent.get((by, user if by == "user" else tenant)))


UNLIMITED = Quotas()
