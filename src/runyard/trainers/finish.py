"""What a script has left in its output folder becomes its job's: every file with its size and SHA-256."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from runyard.protocol.emitter import AlreadyRunningError, Emitter
from runyard.protocol.rundir import RunDir
from runyard.trainers import manifest
from runyard.trainers.failures import classify, is_disk_full
from runyard.trainers.run import COMPLETED, DISK_FULL, FAILED


def main(root: Path, attempt: int, clock: Callable[[], float] = time.time) -> int:
    """Record the files and say that the run is complete; the exit code.

    Without that the job fails, loudly: its files are where it left them, and a retry starts the script again.
    """
    try:
        _record(RunDir(root), attempt, clock)
    except (OSError, AlreadyRunningError) as error:
        message = f"the script ended well, but its files in {root / 'final'} can't be kept: {classify(error)[1]}"
        sys.stderr.write(f"{message}\n")
        return DISK_FULL if is_disk_full(error) else FAILED
    return COMPLETED


def _record(rundir: RunDir, attempt: int, clock: Callable[[], float]) -> None:
    with Emitter(rundir, attempt, clock) as emitter:
        emitter.phase("saving")
        if astray := manifest.astray(rundir, rundir.final):
            text = f"left out what links to files outside of the run folder: {', '.join(astray[:3])}"
            emitter.message(text + (f" and {len(astray) - 3} more" if len(astray) > 3 else ""), "warning")
        manifest.add(rundir, emitter, rundir.final, "model", {"kind": "script"})
        manifest.report(rundir, emitter)
        emitter.finished("completed")
