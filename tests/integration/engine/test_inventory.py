from pathlib import Path

from runyard.engine import inventory


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
