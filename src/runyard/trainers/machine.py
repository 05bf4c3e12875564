"""What this machine has, as far as training cares."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int
    bf16: bool
    """Computes in bfloat16 (Ampere and later)."""
    uuid: str | None = None


@dataclass(frozen=True)
class Machine:
    cores: int
    memory_bytes: int
    gpu: Gpu | None = None

    @property
    def device(self) -> str:
        return f"one {self.gpu.name}" if self.gpu else f"{self.cores} CPU cores"


def visible_gpus(environ: Mapping[str, str], wanted: int | None) -> str:
    """CUDA_VISIBLE_DEVICES for one process: the first GPU that is visible now, or none when none is wanted."""
    if wanted == 0:
        return ""
    given = environ.get("CUDA_VISIBLE_DEVICES")
    return "0" if given is None else given.split(",")[0].strip()


def look() -> Machine:
    import psutil
    import torch

    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total
    if not torch.cuda.is_available():
        return Machine(cores, memory)
    properties = torch.cuda.get_device_properties(0)
    gpu = Gpu(
        name=properties.name,
        memory_bytes=properties.total_memory,
        bf16=properties.major >= 8,
        uuid=f"GPU-{properties.uuid}",
    )
    return Machine(cores, memory, gpu)
