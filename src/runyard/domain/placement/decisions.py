"""What was decided."""

from typing import NamedTuple


class Start(NamedTuple):
    job_id: str
    machine: str
    gpus: tuple[int, ...]


class Preemption(NamedTuple):
    """A running job that is to save, stop and wait, because an urgent one needs its place."""

    job_id: str
    yields_to: str


class Expected(NamedTuple):
    """When a job may start, and where; it has no GPUs if it needs none."""

    at: float
    machine: str
    gpus: tuple[int, ...] = ()


class Wait(NamedTuple):
    """`position` counts from 1 over the whole queue; `expected` is None where it can't be known. One that can `never`
    start needs what no machine has."""

    job_id: str
    position: int
    cause: str
    expected: Expected | None = None
    never: bool = False


class Plan(NamedTuple):
    """`is_full` says that nothing is left to start anything on."""

    starts: list[Start]
    preemptions: list[Preemption]
    waits: list[Wait]
    is_full: bool = False
