"""Jobs: the rows, and the one place where their state changes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select

from runyard.db.database import Session
from runyard.db.queries import events, moves, rollups
from runyard.db.tables import Job, JobTotal, Move
from runyard.domain import listing
from runyard.domain.lifecycle import ACTIVE, FINAL, Cause, State, move

RENEWING = frozenset({Cause.RESUME_ASKED, Cause.RETRY_ASKED})
"""After these it begins anew: what failed before does not count any more."""


async def get(session: Session, job_id: str) -> Job | None:
    job = await session.get(Job, job_id)
    return None if job is None or job.removed_at is not None else job


async def count_by_state(session: Session) -> dict[str, int]:
    count = func.sum(JobTotal.jobs)
    rows = await session.execute(select(JobTotal.state, count).group_by(JobTotal.state).having(count > 0))
    return {state: int(count) for state, count in rows}


async def add(session: Session, job: Job, actor: str) -> None:
    """A new job, with the first line of its history."""
    await add_all(session, [(job, actor)])


async def add_all(session: Session, new: Sequence[tuple[Job, str]]) -> list[Move]:
    """New jobs, each with who asked for it; the first line of each one's history. There may be hundreds a second, so
    the session does not take charge of the objects."""
    if not new:
        return []
    for job, _ in new:
        index(job)
    names = Job.__table__.columns.keys()
    await session.execute(insert(Job), [{name: getattr(job, name) for name in names} for job, _ in new])
    rows = [
        {"job_id": job.id, "at": job.created_at, "after": job.state, "cause": "submitted", "actor": actor}
        for job, actor in new
    ]
    moves = [Move(**row) for row in rows]
    await session.execute(insert(Move), rows)
    await events.append_all(session, [_told(move) for move in moves])
    return moves


def index(job: Job) -> None:
    """What it is found by has changed."""
    job.tags = list(job.tags or ())
    job.search = listing.line(job.name, job.model, job.tags, job.id)


def _told(row: Move) -> dict[str, Any]:
    names = ("before", "after", "cause", "actor", "reason", "message", "attempt")
    data = {name: getattr(row, name) for name in names}
    return {"job_id": row.job_id, "at": row.at, "type": "state", "data": data}


async def apply_move(  # noqa: PLR0913 - all that history keeps of a move
    session: Session,
    job: Job,
    cause: Cause,
    actor: str,
    at: float,
    *,
    attempt: int | None = None,
    reason: str | None = None,
    message: str | None = None,
    not_before: float | None = None,
) -> bool:
    """Move a job as the lifecycle allows; False if the cause has already had its effect.

    What a person starts again stands at the end of its line; what was stopped or failed by itself, or was held while it
    waited, keeps its place. `actor` is who asked or what saw it; `not_before` makes it wait at least until then.
    Raises IllegalMoveError.
    """
    before = State(job.state)
    after = move(before, cause)
    if after == before:
        return before == State.PAUSING and await _reconsider(session, job, cause, actor, at)
    starts_over = cause == Cause.RETRY_ASKED or (
        cause == Cause.RESUME_ASKED and not await moves.was_held(session, job.id)
    )
    _enter(job, after, cause, at)
    if starts_over:
        job.queued_at = at
    if before in ACTIVE and after not in ACTIVE:
        await rollups.settle(session, job)
    job.not_before = not_before
    job.reason, job.message = (reason, message) if after == State.FAILED else (None, None)
    row = Move(
        job_id=job.id,
        attempt=attempt,
        at=at,
        before=before.value,
        after=after.value,
        cause=cause.value,
        actor=actor,
        reason=reason,
        message=message,
    )
    session.add(row)
    await session.flush()
    await events.append_all(session, [_told(row)])
    return True


async def _reconsider(session: Session, job: Job, cause: Cause, actor: str, at: float) -> bool:
    """While it is being paused, whoever asked last says whether it stays paused or goes on."""
    returned = job.returns
    if cause == Cause.PAUSE_ASKED:
        job.yields_to, job.resumes = None, False
    elif cause == Cause.RESUME_ASKED:
        job.resumes = True
    if job.returns == returned:
        return False
    job.updated_at = at
    await events.append(session, job.id, at, "changed", {"returns": job.returns, "actor": actor})
    return True


def _enter(job: Job, state: State, cause: Cause, at: float) -> None:
    job.state = state.value
    job.updated_at = at
    job.wait_cause = job.expected_start = job.expected_place = None
    job.finished_at = at if state in FINAL else None
    if state == State.RUNNING and job.started_at is None:
        job.started_at = at
    if state in ACTIVE and job.active_since is None:
        job.active_since = at
    elif state not in ACTIVE and job.active_since is not None:
        job.duration = (job.duration or 0.0) + max(0.0, at - job.active_since)
        job.active_since = None
    if state == State.QUEUED:
        job.back_at = at
    if cause in RENEWING:
        job.failures = 0
    if cause == Cause.RETRIED:
        job.failures += 1
    if state != State.PAUSING:
        job.yields_to, job.resumes = None, False
