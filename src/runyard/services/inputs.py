"""What a job reads: still there, and still the same, when it is taken up again."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runyard.db.tables import Job
from runyard.domain.access import Caller
from runyard.domain.errors import InvalidError
from runyard.protocol import commands
from runyard.protocol.problems import Problem
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import sources
from runyard.services.context import Context


async def require_unchanged(job: Job, caller: Caller, context: Context) -> None:
    """Raise what `require_there` raises, and InvalidError when data have changed while the job did not run.

    Reads whole files: not for the middle of a transaction.
    """
    require_there(job, caller, context)
    if problems := await asyncio.to_thread(_changed, job):
        raise InvalidError(
            "the data have changed since the job was submitted",
            hint=f"submit a new job; with --continue {job.id} it begins with what this one has learned",
            problems=problems,
        )


def require_there(job: Job, caller: Caller, context: Context) -> None:
    """Raise InvalidError when data or model were removed, or the model's own code is no longer trusted; ForbiddenError
    when the job's tenant may no longer run scripts."""
    if job.kind == "script":
        sources.require_scripts(caller)
    sources.require_trust(job.spec, context)
    spec = job.resolved_spec
    problems = commands.missing(ScriptSpec.model_validate(spec)) if job.kind == "script" else list(_gone(spec))
    if problems:
        raise InvalidError("what the job names is gone", problems=problems)


def _gone(spec: Mapping[str, Any]) -> Iterator[Problem]:
    for section, field in (("model", "name"), ("data", "train"), ("data", "eval")):
        name = spec[section][field]
        if name and name.startswith("/") and not Path(name).exists():
            message = f"{Path(name).name} is no longer there: submit the job again with other data"
            yield Problem(field=f"{section}.{field}", message=message)


def _changed(job: Job) -> list[Problem]:
    problems = []
    for field, expected in (job.data_sha256 or {}).items():
        path = Path(job.resolved_spec["data"][field.removeprefix("data.")])
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            problems.append(Problem(field=field, message=f"{path.name} has changed since the job was submitted"))
    return problems
