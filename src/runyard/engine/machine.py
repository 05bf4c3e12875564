"""The machine that an engine has: what jobs may use of it, and what its GPUs do now."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

import psutil

from runyard.domain.gpus import Usage, used_by_others
from runyard.domain.placement import Gpu, Machine
from runyard.engine import inventory
from runyard.executors import cgroups
from runyard.schemas.system import GpuRead

log = logging.getLogger(__name__)


def this(gpus: Sequence[Gpu], slots: int) -> Machine:
    return Machine(
        name=socket.gethostname(),
        gpus=tuple(gpus),
        slots=slots,
        cpus=len(os.sched_getaffinity(0)),
        memory_mb=psutil.virtual_memory().total >> 20,
    )


def found_gpus(visible: str | None) -> list[Gpu]:
    """Those that the driver tells of and this server may use; `visible` as in CUDA_VISIBLE_DEVICES."""
    return [Gpu(gpu.index, int(gpu.memory_total_mb)) for gpu in inventory.allowed(inventory.gpus(), visible)]


def gpus_now() -> list[GpuRead]:
    """As they are at this moment; what has a job's mark is taken for ours."""
    found = inventory.gpus()
    usage: Mapping[int, Usage] = {}
    with suppress(OSError):
        usage = inventory.usage() if found else {}
    marks = {holder.nonce for one in usage.values() for holder in one.holders if holder.nonce is not None}
    # Only the engine knows whose it is if nobody is named for it.
    why = {index: used_by_others(one, marks, is_held=True) for index, one in usage.items()}
    return [GpuRead(**asdict(gpu), unusable=why.get(gpu.index)) for gpu in found]


async def look_for_cgroups() -> str | None:
    """Why jobs can't have one each, said where whoever starts a server sees it."""
    missing = await asyncio.to_thread(cgroups.missing)
    if missing is not None:
        log.warning("no cgroup for each job (%s): what a job starts is found by parents and environment alone", missing)
    return missing
