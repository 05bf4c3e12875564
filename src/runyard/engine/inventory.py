"""Which GPUs this machine has, and how they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Gpu:
    index: int
    uuid: str
    name: str
    memory_total_mb: float
    memory_used_mb: float
    utilization_percent: float | None
    temperature_celsius: float | None
    power_watts: float | None


def gpus() -> list[Gpu]:
    """GPUs by index; none where there is no driver."""
    with _nvml() as ready:
        return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())] if ready else []


def allowed(found: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """The GPUs that a CUDA_VISIBLE_DEVICES leaves to this server; all of them where it is not set."""
    if visible is None:
        return list(found)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return [gpu for gpu in found if any(name == str(gpu.index) or gpu.uuid.startswith(name) for name in names)]


@contextmanager
def _nvml() -> Iterator[bool]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    utilization = _ask(pynvml.nvmlDeviceGetUtilizationRates, device)
    power = _ask(pynvml.nvmlDeviceGetPowerUsage, device)
    return Gpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(device)),
        name=str(pynvml.nvmlDeviceGetName(device)),
        memory_total_mb=memory.total / MEGABYTE,
        memory_used_mb=memory.used / MEGABYTE,
        utilization_percent=utilization and utilization.gpu,
        temperature_celsius=_ask(pynvml.nvmlDeviceGetTemperature, device, pynvml.NVML_TEMPERATURE_GPU),
        power_watts=power and power / 1000,
    )


def _ask(question: Any, *args: Any) -> Any:
    """The answer, or None where this model of GPU has none."""
    with suppress(pynvml.NVMLError):
        return question(*args)
    return None
