"""Which checkpoints there are, and which stay: the best and the last."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from runyard.protocol import folders
from runyard.protocol.events import CheckpointEvent, ResumedEvent, any_event
from runyard.protocol.rundir import RunDir, read_lines_backwards
from runyard.trainers.failures import TrainingError

PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
OURS = frozenset({"optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "training_args.bin"})
"""Pickles that every checkpoint has. The last is never read; the library reads the others without running code."""
STATE = "runyard.json"
"""Is written anew when an evaluation is made up for, perhaps just before the run is killed; and it is JSON."""


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


def require_as_written(rundir: RunDir, step: int) -> None:
    """To be called before a checkpoint is loaded, for loading may be executing.

    Raises TrainingError(bad_config) when a file of it is not the one that the run told of when it wrote it, or, where
    the run was killed before it could tell, when it has a kind of file that we don't write.
    """
    folder = rundir.checkpoint(step)
    if wrong := sorted({*_foreign(folder), *_changed(folder, reported(rundir, step))}):
        raise TrainingError(
            "bad_config",
            f"the checkpoint of step {step} is not as it was written: {', '.join(wrong[:5])} was changed or added, or "
            f"is missing. Bring it back, or remove the folder {folder.name} to go on from the checkpoint before it",
        )


def reported(rundir: RunDir, step: int) -> dict[str, str] | None:
    """The SHA-256 sums that the run told of when it wrote the checkpoint; None where it was killed before that.

    What was told before the run was set back to an earlier step was of another checkpoint.
    """
    lines = read_lines_backwards(rundir.events) if rundir.events.is_file() else iter(())
    for line in lines:
        if b"checkpoint" not in line and b"resumed" not in line:
            continue
        try:
            event = any_event.validate_json(line)
        except ValueError:
            continue
        if isinstance(event, CheckpointEvent) and event.step == step:
            return event.files
        if isinstance(event, ResumedEvent) and event.step < step:
            return None
    return None


def max_steps(folder: Path) -> int:
    """Optimizer steps of the whole run, as the library noted them in a checkpoint."""
    steps: int = json.loads((folder / "trainer_state.json").read_bytes())["max_steps"]
    return steps


def _foreign(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in PICKLED and path.name not in OURS:
            yield str(path.relative_to(folder))


def _changed(folder: Path, recorded: Mapping[str, str] | None) -> Iterator[str]:
    if recorded is None:
        return
    found = folders.digests(folder)
    for name in found.keys() | recorded.keys():
        if name != STATE and found.get(name) != recorded.get(name):
            yield name


def _remove(folder: Path) -> None:
    """Renamed first, so that a crash in the middle leaves nothing that looks like a checkpoint."""
    doomed = folders.partial(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
