"""The frame of a run: lock, phases, signals, outcome."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from runyard.protocol import folders
from runyard.protocol.emitter import Emitter
from runyard.protocol.events import FinishedEvent, any_event
from runyard.protocol.problems import spec_problems
from runyard.protocol.rundir import RunDir, read_lines_backwards
from runyard.protocol.specs import job_spec
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.protocol.specs.script import ScriptSpec
from runyard.trainers.failures import TrainingError, classify, is_disk_full
from runyard.trainers.stop import Stop, Stopped

COMPLETED, FAILED, DISK_FULL, STOPPED = 0, 1, 74, 75
"""Exit codes; 75 (EX_TEMPFAIL) says: stopped on request, run me again to go on; 74 (EX_IOERR): the disk of the run
folder is so full that not even the last word could be written."""


def main(root: Path, attempt: int, cache: Path, clock: Callable[[], float] = time.time) -> int:
    """Run the job in a run folder to its end and return the exit code.

    A completed run is left as it is. Raises AlreadyRunningError when another process works in the folder.
    """
    try:
        return _run(root, attempt, cache, clock)
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.stderr.write(f"no room left on the disk of {root}\n")
        return DISK_FULL


def _run(root: Path, attempt: int, cache: Path, clock: Callable[[], float]) -> int:
    rundir = RunDir(root)
    with Emitter(rundir, attempt, clock) as emitter:
        if is_completed(rundir):
            emitter.finished("completed", message="the run was complete already")
            return COMPLETED
        stop = Stop(rundir.stop_request)
        with stop.listening():
            return _outcome(rundir, emitter, stop, cache)


def is_completed(rundir: RunDir) -> bool:
    for line in read_lines_backwards(rundir.events):
        event = any_event.validate_json(line)
        if isinstance(event, FinishedEvent):
            return event.outcome == "completed"
    return False


def _outcome(rundir: RunDir, emitter: Emitter, stop: Stop, cache: Path) -> int:
    from runyard.trainers.language import job

    try:
        folders.clear_leftovers(rundir.root, rundir.checkpoints)
        job.Job(read_spec(rundir), rundir, emitter, stop, cache).run()
    except Stopped:
        emitter.finished("stopped", message="stopped on request" + (", nothing saved" if stop.discard else ""))
        return STOPPED
    except Exception as error:
        logging.getLogger(__name__).exception("the run failed")
        reason, message = classify(error)
        emitter.finished("failed", reason, message)
        return FAILED
    emitter.finished("completed")
    return COMPLETED


def read_spec(rundir: RunDir) -> SftSpec | DpoSpec:
    """Raises TrainingError(bad_config) with every problem of `spec.json`."""
    try:
        spec = job_spec.validate_json(rundir.spec.read_bytes())
    except FileNotFoundError:
        raise TrainingError("bad_config", f"there is no {rundir.spec}") from None
    except ValidationError as error:
        problems = "; ".join(str(problem) for problem in spec_problems(error, None))
        raise TrainingError("bad_config", f"spec.json: {problems}") from None
    if isinstance(spec, ScriptSpec):
        raise TrainingError("bad_config", "spec.json asks for a script: that is a program of its own")
    return spec
