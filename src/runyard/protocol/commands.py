"""What is executed for a job, by a server or without one."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.protocol.problems import Problem
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.script import ScriptSpec

SHELL = "/bin/sh"


@dataclass(frozen=True)
class Command:
    """A program with its arguments, what it gets into its environment, and the folder it runs in.

    `secrets` has what it gets there, too: names of secrets, by variable. `folders` are made before it starts. `after`
    runs when it has ended with code 0, not told to, and left files in `final/`; how that ends is then how the attempt
    ends.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    after: tuple[str, ...] = ()


def command(spec: Mapping[str, Any], rundir: RunDir, attempt: int, python: str) -> Command:
    """The command of one attempt at a job, given as its resolved JSON; `python` is the interpreter of our programs."""
    trainer = (python, "-m", "runyard.trainers", str(rundir.root), "--attempt", str(attempt))
    if spec.get("kind") != "script":
        return Command(trainer, rundir.root, {})
    script = ScriptSpec.model_validate(spec)
    folder = Path(script.workdir) if script.workdir else Path(script.file).parent if script.file else rundir.root
    secrets = script.secrets
    plain = {name: value for name, value in script.env.items() if name not in secrets}
    return Command(
        argv=_words(script, python),
        cwd=folder,
        env={"PYTHONFAULTHANDLER": "1", **plain, **variables(rundir, attempt)},
        secrets=secrets,
        folders=(rundir.checkpoints, rundir.final),
        after=(*trainer, "--finish"),
    )


def variables(rundir: RunDir, attempt: int) -> dict[str, str]:
    """What a script finds in its environment."""
    steps = rundir.checkpoint_steps()
    return {
        "RUNYARD_RUN_DIR": str(rundir.root),
        "RUNYARD_JOB_ID": rundir.root.name,
        "RUNYARD_ATTEMPT": str(attempt),
        "RUNYARD_CHECKPOINT_DIR": str(rundir.checkpoints),
        "RUNYARD_OUTPUT_DIR": str(rundir.final),
        "RUNYARD_RESUME_FROM": str(rundir.checkpoint(steps[-1])) if steps else "",
    }


def missing(script: ScriptSpec) -> list[Problem]:
    """What a script names and is not on this machine, as absolute paths; an interpreter may be a name alone."""
    found = []
    for name, path, is_there in (
        ("file", script.file, os.path.isfile),
        ("workdir", script.workdir, os.path.isdir),
        ("python", script.python, shutil.which),
    ):
        if path is None:
            continue
        if not os.path.isabs(path) and not (name == "python" and os.sep not in path):
            found.append(Problem(field=name, message=f"{path!r} must be an absolute path"))
        elif "\0" in path or not is_there(path):
            what = {"file": "file", "workdir": "folder", "python": "program"}[name]
            found.append(Problem(field=name, message=f"no such {what}: {path}"))
    return found


def missing_secrets(script: ScriptSpec, environ: Mapping[str, str]) -> list[Problem]:
    """Secrets that a script names, where they come from an environment."""
    return [
        Problem(field=f"env.{variable}", message=f"there is no secret {name}: set the environment variable {name}")
        for variable, name in script.secrets.items()
        if name not in environ
    ]


def _words(script: ScriptSpec, python: str) -> tuple[str, ...]:
    if script.file is not None:
        return (script.python or python, script.file, *script.args)
    if isinstance(script.command, str):
        return (SHELL, "-c", script.command)
    return tuple(script.command or ())
