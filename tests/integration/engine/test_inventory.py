from pathlib import Path

from runyard.engine import inventory


def test_a_machine_without_driver_has_no_gpus_and_one_with_says_which() -> None:
    gpus = inventory.gpus()
    if not Path("/proc/driver/nvidia").exists():
        assert gpus == []
    assert [gpu.index for gpu in gpus] == list(range(len(gpus)))
    assert all(0 < gpu.memory_used_mb <= gpu.memory_total_mb for gpu in gpus)
