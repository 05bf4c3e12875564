"""The checkpoint of an earlier job that a new one starts from."""

from dataclasses import dataclass
from pathlib import Path

from runyard.db.database import Session
from runyard.db.queries import checkpoints, jobs
from runyard.db.tables import Checkpoint
from runyard.services import paths
from runyard.services.context import Context


@dataclass(frozen=True)
class Origin:
    job_id: str
    step: int
    folder: str
    """Absolute."""


async def find(session: Session, name: str, context: Context) -> Origin:
    """JOB:STEP, or JOB for its newest checkpoint. Raises ValueError saying what to name instead."""
    job_id, _, step = name.partition(":")
    if await jobs.get(session, job_id) is None:
        raise ValueError(f"there is no job {job_id[:100]!r}; `runyard jobs list` shows what is there")
    rows = await checkpoints.of_job(session, job_id)
    found = {row.step: folder(row, context) for row in rows if row.removed_at is None}
    kept = {step: path for step, path in found.items() if path is not None}
    if not kept:
        raise ValueError(f"job {job_id} has no checkpoint")
    if not step:
        newest = max(kept)
        return Origin(job_id, newest, str(kept[newest]))
    if not step.isdecimal() or int(step) not in kept:
        known = ", ".join(map(str, kept))
        raise ValueError(f"job {job_id} has no checkpoint of step {step[:20]!r}; it has: {known}")
    return Origin(job_id, int(step), str(kept[int(step)]))


def folder(checkpoint: Checkpoint, context: Context) -> Path | None:
    """Where a checkpoint is, if that is among its own job's: a trainer may have told, or linked, anything."""
    rundir = context.rundir(checkpoint.job_id)
    path = paths.within(rundir.root, checkpoint.path)
    inside = path is not None and paths.real(rundir.root) / rundir.checkpoints.name in path.parents
    return path if path is not None and inside and path.is_dir() else None
