import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from runyard.domain.gpus import Holder, Usage
from runyard.engine import inventory

MB = 1 << 20


def test_a_machine_without_driver_has_no_gpus_and_one_with_says_which() -> None:
    gpus = inventory.gpus()
    if not Path("/proc/driver/nvidia").exists():
        assert gpus == []
    assert [gpu.index for gpu in gpus] == list(range(len(gpus)))
    assert all(0 < gpu.memory_used_mb <= gpu.memory_total_mb for gpu in gpus)


def test_a_server_takes_only_the_gpus_that_it_was_given() -> None:
    found = [inventory.Gpu(n, f"GPU-{n}ab", "H100", 80_000, 0, None, None, None) for n in range(4)]
    for visible, expected in ((None, [0, 1, 2, 3]), ("3", [3]), ("0, 2", [0, 2]), ("GPU-1", [1]), ("", []), ("-1", [])):
        assert [gpu.index for gpu in inventory.allowed(found, visible)] == expected


def test_a_driver_that_is_not_there_is_no_empty_gpu() -> None:
    if not Path("/proc/driver/nvidia").exists():
        with pytest.raises(OSError, match="NVML"):
            inventory.usage()


def answers(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    """A driver that gives these answers, and has no other."""

    def missing(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    names = ("Init", "Shutdown", "DeviceGetCount", "DeviceGetHandleByIndex", "DeviceGetMemoryInfo")
    names += ("DeviceGetComputeRunningProcesses", "DeviceGetGraphicsRunningProcesses", "DeviceGetMinorNumber")
    given = {"Init": lambda: None, "Shutdown": lambda: None, "DeviceGetCount": lambda: 1} | values
    given.setdefault("DeviceGetHandleByIndex", lambda index: index)
    for name in names:
        monkeypatch.setattr(pynvml, f"nvml{name}", given.get(name, missing))


def test_who_is_on_a_gpu_is_told_with_name_and_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    name = Path("/proc/self/comm").read_text().strip()
    on_it = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=300 * MB), SimpleNamespace(pid=2**22, usedGpuMemory=None)]
    answers(
        monkeypatch,
        DeviceGetMemoryInfo=lambda device, version=None: SimpleNamespace(used=700 * MB),
        DeviceGetComputeRunningProcesses=lambda device: on_it,
    )
    assert inventory.usage() == {0: Usage(700.0, (Holder(os.getpid(), 300.0, name), Holder(2**22)))}


def test_an_old_driver_and_memory_that_no_process_is_told_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the device open is named then; the test has one open of that name."""
    monkeypatch.setattr(inventory, "DEVICE", "/dev/nul")

    def info(device: object, version: int | None = None) -> SimpleNamespace:
        if version is not None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return SimpleNamespace(used=5000 * MB)

    answers(monkeypatch, DeviceGetMemoryInfo=info, DeviceGetMinorNumber=lambda device: "l")
    with open(os.devnull):
        found = inventory.usage()[0]
    assert found.memory_mb == 5000
    assert os.getpid() in {holder.pid for holder in found.holders}


def test_a_driver_that_fails_is_an_error_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    with pytest.raises(OSError, match="Not Supported"):
        inventory.usage()
