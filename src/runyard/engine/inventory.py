"""Which GPUs this machine has, how they are, and who is on them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from runyard.domain.gpus import OTHERS_MB, Holder, Usage
from runyard.executors import processes

MEGABYTE = 1 << 20
DEVICE = "/dev/nvidia"


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


def usage() -> dict[int, Usage]:
    """What is in use of each GPU. Raises OSError when the driver does not answer."""
    with _nvml() as ready:
        if not ready:
            raise OSError("NVML can't be opened")
        try:
            return {index: _usage(index) for index in range(pynvml.nvmlDeviceGetCount())}
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error


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


def _usage(index: int) -> Usage:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    # The newer answer leaves out what the driver keeps for itself.
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, device, pynvml.nvmlMemory_v2)
    used = (memory or pynvml.nvmlDeviceGetMemoryInfo(device)).used / MEGABYTE
    told = [
        *(_ask(pynvml.nvmlDeviceGetComputeRunningProcesses, device) or ()),
        *(_ask(pynvml.nvmlDeviceGetGraphicsRunningProcesses, device) or ()),
    ]
    holders = {one.pid: _holder(one.pid, one.usedGpuMemory and one.usedGpuMemory / MEGABYTE) for one in told}
    if used - sum(holder.memory_mb or 0.0 for holder in holders.values()) > OTHERS_MB:
        # The list is empty at times though somebody holds memory; whoever does has the device open.
        number = _ask(pynvml.nvmlDeviceGetMinorNumber, device)
        holders = {pid: _holder(pid, None) for pid in _openers(f"{DEVICE}{number}")} | holders
    return Usage(used, tuple(holders.values()))


def _holder(pid: int, memory_mb: float | None) -> Holder:
    """With what can be known of the process; in a container it may not be visible."""
    name, nonce = "", None
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        nonce = processes.nonce_of(pid)
    return Holder(pid, memory_mb, name, nonce)


def _openers(device: str) -> list[int]:
    """Processes that have a device open, of those that we may look into."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError):
            folder = f"/proc/{pid}/fd"
            if any(os.readlink(f"{folder}/{number}") == device for number in os.listdir(folder)):
                found.append(pid)
    return found


def _ask(question: Any, *args: Any) -> Any:
    """The answer, or None where this model of GPU has none."""
    with suppress(pynvml.NVMLError):
        return question(*args)
    return None
