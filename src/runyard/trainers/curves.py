"""The same values as TensorBoard files."""

import math
from collections.abc import Mapping
from pathlib import Path


class Curves:
    """Writes `train/...` and `eval/...`. Points after `from_step`, left by an earlier attempt, are hidden."""

    def __init__(self, folder: Path, from_step: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=None if from_step is None else from_step + 1)

    def add(self, split: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{split}/{name.removeprefix('eval_')}", value, step)

    def close(self) -> None:
        self._writer.close()
