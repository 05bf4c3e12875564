"""Checkpoints: complete under their name, or not there; the best and the last stay."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from runyard.protocol.rundir import RunDir

PARTIAL = ".partial"


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A scratch folder that takes the given name, durably, when the block ends well; nothing is left otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f"{PARTIAL}-{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        _sync_tree(scratch)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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


def clear_leftovers(rundir: RunDir) -> None:
    """Remove what a crash left half-written or half-removed."""
    for parent in (rundir.root, rundir.checkpoints):
        if parent.is_dir():
            for leftover in parent.glob(f"{PARTIAL}-*"):
                shutil.rmtree(leftover, ignore_errors=True)


def max_steps(folder: Path) -> int:
    """Optimizer steps of the whole run, as the library noted them in a checkpoint."""
    steps: int = json.loads((folder / "trainer_state.json").read_bytes())["max_steps"]
    return steps


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove(folder: Path) -> None:
    """Renamed first, so that a crash in the middle leaves nothing that looks like a checkpoint."""
    doomed = folder.with_name(f"{PARTIAL}-{folder.name}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
