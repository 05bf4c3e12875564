"""GPUs that a test has in its hand, where a machine has none."""

from collections.abc import Mapping

from runyard.domain.gpus import Holder, Usage


class Gpus:
    """Give it to a context as `gpu_usage`."""

    def __init__(self, *indices: int) -> None:
        self.usage = dict.fromkeys(indices, Usage(0.0))
        self.is_broken = False

    def __call__(self) -> Mapping[int, Usage]:
        if self.is_broken:
            raise OSError("the driver does not answer")
        return dict(self.usage)

    def use(self, index: int, memory_mb: float, *holders: Holder) -> None:
        """What is in use from now on, and by whom."""
        self.usage[index] = Usage(memory_mb, holders)
