"""What there is and what is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple


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


@dataclass(frozen=True)
class Quotas:
    """What one user may have at once; None is without limit. A share of a GPU counts as a GPU."""

    running: int | None = None
    gpus: int | None = None


UNLIMITED = Quotas()
