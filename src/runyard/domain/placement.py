"""Which waiting jobs start now: a pure function of queue and machine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RANK = {"urgent": 0, "high": 1, "normal": 2, "low": 3}


@dataclass(frozen=True)
class Machine:
    """`gpus` are the indices of the GPUs; without any, `slots` jobs share the processors."""

    gpus: tuple[int, ...] = ()
    slots: int = 1


@dataclass(frozen=True)
class Waiting:
    """`gpus` is None when the job takes a GPU where there is one."""

    job_id: str
    priority: str
    arrived: float
    gpus: int | None = None


@dataclass(frozen=True)
class Taken:
    """What an attempt under way holds: GPUs, or a slot."""

    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Start:
    job_id: str
    gpus: tuple[int, ...]


@dataclass(frozen=True)
class Wait:
    """`position` counts from 1 over the whole queue."""

    job_id: str
    position: int
    cause: str


def plan(queue: Iterable[Waiting], taken: Sequence[Taken], machine: Machine) -> tuple[list[Start], list[Wait]]:
    """Start jobs by priority, then arrival, while there is room; the rest wait, each with its cause.

    A job that can't start lets none of its own resource pass it, so a large job is never starved by small ones.
    """
    held = {gpu for holder in taken for gpu in holder.gpus}
    free_gpus = [gpu for gpu in machine.gpus if gpu not in held]
    free_slots = max(0, machine.slots - sum(not holder.gpus for holder in taken))
    starts: list[Start] = []
    waits: list[Wait] = []
    for job in sorted(queue, key=lambda job: (RANK[job.priority], job.arrived, job.job_id)):
        wanted = min(1, len(machine.gpus)) if job.gpus is None else job.gpus
        if wanted > len(machine.gpus):
            cause = f"needs {_count(wanted, 'GPU')}, this machine has {len(machine.gpus) or 'none'}"
        elif wanted and wanted <= len(free_gpus):
            starts.append(Start(job.job_id, tuple(free_gpus[:wanted])))
            del free_gpus[:wanted]
            continue
        elif wanted:
            cause = f"needs {_count(wanted, 'GPU')}, {len(free_gpus)} free"
            free_gpus.clear()
        elif free_slots:
            starts.append(Start(job.job_id, ()))
            free_slots -= 1
            continue
        else:
            cause = "waits for the job before it to end"
        waits.append(Wait(job.job_id, len(waits) + 1, cause))
    return starts, waits


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
