"""Asking jobs to move, and reading them. Submitting has a file of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.db.database import Session
from runyard.db.queries import attempts, moves
from runyard.db.queries import jobs as queries
from runyard.db.tables import Attempt, Job, Move
from runyard.domain.access import Caller
from runyard.domain.errors import NotFoundError
from runyard.domain.lifecycle import Cause

LONGEST_ID = 100


@dataclass(frozen=True)
class History:
    """A job with its tries and moves."""

    job: Job
    attempts: Sequence[Attempt]
    moves: Sequence[Move]


async def get(session: Session, job_id: str) -> Job:
    """Raises NotFoundError."""
    if job := await queries.get(session, job_id):
        return job
    raise NotFoundError(f"there is no job {job_id[:LONGEST_ID]!r}", hint="`runyard jobs list` shows what is there")


async def show(session: Session, job_id: str) -> History:
    job = await get(session, job_id)
    return History(job, await attempts.of_job(session, job_id), await moves.of_job(session, job_id))


async def to_change(session: Session, job_id: str, caller: Caller) -> Job:
    """Raises NotFoundError, and ForbiddenError for one of others."""
    job = await get(session, job_id)
    caller.require_change(job.user, f"job {job.id}")
    return job


async def ask(session: Session, job_id: str, cause: Cause, caller: Caller, at: float) -> Job:
    """Pause, resume, cancel or retry. Asking twice is no error.

    Raises NotFoundError, ForbiddenError and IllegalMoveError. One that is to be taken up again has to be looked at
    with `inputs.require_unchanged` before.
    """
    job = await to_change(session, job_id, caller)
    await queries.apply_move(session, job, cause, caller.user, at)
    return job
