"""`python -m runyard.trainers RUNDIR`: run one job to its end, or with --finish keep what a script has left.

Exit codes: 0 completed, 75 stopped on request (run again to go on), 1 failed, 74 failed because the disk is
full; with --check, 0 fine, 2 problems.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from runyard.protocol import stacks
from runyard.protocol.emitter import AlreadyRunningError
from runyard.protocol.problems import Problem
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers import finish, machine, quiet, run
from runyard.trainers.failures import TrainingError, classify
from runyard.trainers.language import gguf

PROBLEMS = 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m runyard.trainers", description="Run one training job to its end.")
    parser.add_argument("rundir", type=Path, help="run folder with spec.json")
    parser.add_argument("--attempt", type=int, default=1, help="number of this attempt (default 1)")
    parser.add_argument("--check", action="store_true", help="print problems, data report and choices as JSON")
    parser.add_argument(
        "--finish", action="store_true", help="keep what a script has left, and say that it is complete"
    )
    parser.add_argument("--preview", type=int, metavar="N", help="print N examples with their trained tokens as JSON")
    options = parser.parse_args(arguments)
    if options.finish:
        return finish.main(options.rundir, options.attempt)
    _set_environment(options.rundir)
    cache = Path(os.environ.get("RUNYARD_CACHE") or Path.home() / ".cache" / "runyard")
    if options.check:
        return _check(options.rundir, cache)
    if options.preview is not None:
        return _preview(options.rundir, options.preview, cache)
    stacks.answer(RunDir(options.rundir).stacks(options.attempt))
    try:
        return run.main(options.rundir, options.attempt, cache)
    except AlreadyRunningError as error:
        sys.stderr.write(f"{error}\n")
        return run.FAILED


def _set_environment(rundir: Path) -> None:
    """What must be settled before torch and the hub's library are imported."""
    try:
        spec = run.read_spec(RunDir(rundir))
    except TrainingError:
        return  # reported when the run reads it again
    is_local = gguf.is_gguf(spec.model.name) or Path(spec.model.name).is_dir()
    has_local_data = all(Path(source).is_file() for source in (spec.data.train, spec.data.eval) if source)
    quiet.environment(offline=is_local and has_local_data)
    if spec.model.quantization is None and spec.training.optimizer != "adamw_8bit":
        quiet.without_bitsandbytes()
    os.environ["CUDA_VISIBLE_DEVICES"] = machine.visible_gpus(os.environ, spec.resources.gpus)
    if threads := os.environ.get("RUNYARD_THREADS"):
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = threads


def _check(rundir: Path, cache: Path) -> int:
    def result(spec: SftSpec | DpoSpec) -> Any:
        from runyard.trainers.language import check

        return check.check(spec, machine.look(), cache)

    return _print_json(rundir, result)


def _preview(rundir: Path, count: int, cache: Path) -> int:
    def result(spec: SftSpec | DpoSpec) -> Any:
        from runyard.trainers.language import models
        from runyard.trainers.text import preview

        return preview.preview(spec, models.load_tokenizer(spec.model, cache), count)

    return _print_json(rundir, result)


def _print_json(rundir: Path, result: Any) -> int:
    """Print what `result(spec)` returns, or the problem that it ran into, in one shape."""
    try:
        spec = run.read_spec(RunDir(rundir))
        quiet.libraries()
        content = result(spec)
    except Exception as error:
        if not isinstance(error, TrainingError | ValueError | OSError | ImportError):
            raise
        problems = getattr(error, "problems", None) or [Problem(message=classify(error)[1])]
        content = {"problems": problems, "warnings": [], "report": None, "choices": []}
    sys.stdout.write(json.dumps(content, default=_plain, indent=2) + "\n")
    return PROBLEMS if isinstance(content, dict) and content.get("problems") else 0


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return vars(value)


if __name__ == "__main__":
    sys.exit(main())
