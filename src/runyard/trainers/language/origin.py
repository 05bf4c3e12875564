"""What a run starts from that is to go on where another one stood."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runyard.protocol import folders
from runyard.protocol.emitter import Emitter
from runyard.protocol.rundir import CHECKPOINT_NAME, RunDir, write_atomically
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers import checkpoints
from runyard.trainers.failures import TrainingError
from runyard.trainers.language import frozen


def settle(rundir: RunDir, spec: SftSpec | DpoSpec, fingerprint: str, emitter: Emitter) -> Path | None:
    """The checkpoint whose weights the run begins with, None to begin with none or with what its own folder holds.

    Where the same steps would follow, the other run's checkpoint becomes one of this run's own, optimizer and all.
    Raises TrainingError (bad_config) when there is no such checkpoint, or its weights don't fit.
    """
    if spec.continue_from is None or rundir.checkpoint_steps():
        return None
    folder = Path(spec.continue_from)
    step, content = _look(folder)
    changed = frozen.differences(content, spec)
    if content["fingerprint"] != fingerprint:
        changed.append("the data are others")
    if unfit := [change for change in changed if change.startswith("adapter.") and "adapter.dropout" not in change]:
        raise TrainingError("bad_config", f"continue_from: the weights of {folder} don't fit: {'; '.join(unfit)}")
    about = {"checkpoint": str(folder), "step": step, "exact": not changed}
    if changed:
        text = f"begins with the weights of step {step} of another run, and a new optimizer: {'; '.join(changed)}"
        emitter.message(text, continues=about)
        return folder
    _adopt(folder, rundir, step)
    emitter.message(f"goes on from step {step} of another run as if it had never ended", continues=about)
    return None


def _look(folder: Path) -> tuple[int, Mapping[str, Any]]:
    """The step of a checkpoint, and what its run had settled when it began."""
    name = CHECKPOINT_NAME.fullmatch(folder.name)
    if name is None or not folder.is_dir():
        raise TrainingError("bad_config", f"continue_from: there is no checkpoint {folder}")
    content = frozen.read(_run_of(folder))
    if content is None:
        raise TrainingError("bad_config", f"continue_from: {folder} is in no run folder: its choices.json is missing")
    checkpoints.require_as_written(_run_of(folder), int(name[1]))
    return int(name[1]), content


def _adopt(folder: Path, rundir: RunDir, step: int) -> None:
    write_atomically(frozen.path(rundir), frozen.path(_run_of(folder)).read_bytes())
    with folders.written_whole(rundir.checkpoint(step)) as scratch:
        shutil.copytree(folder, scratch, copy_function=_link, dirs_exist_ok=True)


def _run_of(checkpoint: Path) -> RunDir:
    return RunDir(checkpoint.parent.parent)


def _link(source: str, target: str) -> None:
    """The same file in both runs, where one disk has both: files of a checkpoint are never written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
