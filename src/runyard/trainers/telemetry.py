"""What the machine is doing: GPU figures by NVML, CPU and memory by psutil; looked at once a second at most."""

import contextlib
from collections.abc import Callable
from typing import Any

INTERVAL = 1.0


class Telemetry:
    """`sample()` returns the newest figures. A machine without NVIDIA GPU has no `gpu_` values."""

    def __init__(self, gpu_uuid: str | None, clock: Callable[[], float]) -> None:
        import psutil

        self._clock = clock
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call starts the measurement and returns 0
        self._gpu = _open_gpu(gpu_uuid) if gpu_uuid else None
        self._taken_at = clock()
        self._values: dict[str, float] = {}

    def sample(self) -> dict[str, float]:
        now = self._clock()
        if not self._values or now - self._taken_at >= INTERVAL:
            self._taken_at = now
            self._values = self._read()
        return self._values

    def close(self) -> None:
        if self._gpu is not None:
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _read(self) -> dict[str, float]:
        values = {
            "cpu_percent": self._process.cpu_percent(),
            "rss_mb": self._process.memory_info().rss / 2**20,
        }
        return values | _read_gpu(self._gpu) if self._gpu is not None else values


def _open_gpu(uuid: str) -> Any:
    import pynvml

    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)
    return None


def _read_gpu(handle: Any) -> dict[str, float]:
    """Each figure on its own: some cards and containers hide one or the other."""
    import pynvml

    readers: dict[str, Callable[[], float]] = {
        "gpu_utilization_percent": lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "gpu_memory_mb": lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20,
        "gpu_temperature_celsius": lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        "gpu_power_watts": lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    }
    values = {}
    for name, read in readers.items():
        with contextlib.suppress(pynvml.NVMLError):
            values[name] = float(read())
    return values
