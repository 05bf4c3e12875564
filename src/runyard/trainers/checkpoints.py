"""Which checkpoints there are, and which stay: the best and the last."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from runyard.protocol import folders
from runyard.protocol.rundir import RunDir


def newest(rundir: RunDir) -> tuple[int, Path] | None:
    steps = rundir.checkpoint_steps()
    return (steps[-1], rundir.checkpoint(steps[-1])) if steps else None


def best(rundir: RunDir, eval_losses: Mapping[int, float]) -> int | None:
    """The checkpoint with the lowest evaluation loss, the earlier of two equal ones."""
    known = [(eval_losses[step], step) for step in rundir.checkpoint_steps() if step in eval_losses]
    return min(known)[1] if known else None


def rotate(rundir: RunDir, keep: int, eval_losses: Mapping[int, float]) -> list[int]:
    """Remove the oldest checkpoints down to `keep`, sparing the best and the last; returns the removed steps."""
    steps = rundir.checkpoint_steps()
    spared = {best(rundir, eval_losses), *steps[-1:]}
    removable = [step for step in steps if step not in spared]
    removed = removable[: max(0, len(steps) - keep)]
    for step in removed:
        _remove(rundir.checkpoint(step))
    return removed


def max_steps(folder: Path) -> int:
    """Optimizer steps of the whole run, as the library noted them in a checkpoint."""
    steps: int = json.loads((folder / "trainer_state.json").read_bytes())["max_steps"]
    return steps


def _remove(folder: Path) -> None:
    """Renamed first, so that a crash in the middle leaves nothing that looks like a checkpoint."""
    doomed = folders.partial(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
