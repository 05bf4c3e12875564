"""Jobs: the rows, and the one place where their state changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import defer

from runyard.db.database import Session
from runyard.db.queries import events
from runyard.db.tables import Job, Move
from runyard.domain.lifecycle import FINAL, Cause, State, move

RENEWING = frozenset({Cause.RESUME_ASKED, Cause.RETRY_ASKED})
"""After these a job stands at the end of its line; one that was stopped or failed by itself keeps its place."""

COUNT_WAITING = select(func.count()).where(Job.state == State.QUEUED.value)


async def get(session: Session, job_id: str) -> Job | None:
    job = await session.get(Job, job_id)
    return None if job is None or job.removed_at is not None else job


@dataclass(frozen=True)
class Filter:
    """None lets everything pass; `name` is any part of it, in any case."""

    states: Sequence[str] | None = None
    kind: str | None = None
    name: str | None = None


async def page(session: Session, wanted: Filter, before: tuple[float, str] | None, limit: int) -> Sequence[Job]:
    """Newest first, from before a (created_at, id); without the specs, which may be long."""
    query = select(Job).options(defer(Job.spec, raiseload=True), defer(Job.resolved_spec, raiseload=True))
    query = query.where(Job.removed_at.is_(None))
    if wanted.states:
        query = query.where(Job.state.in_(wanted.states))
    if wanted.kind is not None:
        query = query.where(Job.kind == wanted.kind)
    if wanted.name is not None:
        query = query.where(Job.name.icontains(wanted.name, autoescape=True))
    if before is not None:
        at, id_ = before
        query = query.where(or_(Job.created_at < at, (Job.created_at == at) & (Job.id < id_)))
    return (await session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit))).all()


async def count_by_state(session: Session) -> dict[str, int]:
    rows = await session.execute(select(Job.state, func.count()).where(Job.removed_at.is_(None)).group_by(Job.state))
    return {state: count for state, count in rows}


async def count_waiting(session: Session) -> int:
    return await session.scalar(COUNT_WAITING) or 0


async def add(session: Session, job: Job, actor: str) -> None:
    """A new job, with the first line of its history."""
    await add_all(session, [(job, actor)])


async def add_all(session: Session, new: Sequence[tuple[Job, str]]) -> list[Move]:
    """New jobs, each with who asked for it; the first line of each one's history. There may be hundreds a second, so
    the session does not take charge of the objects."""
    if not new:
        return []
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

    `actor` is who asked or what saw it; `not_before` makes it wait at least until then. Raises IllegalMoveError.
    """
    if cause == Cause.PAUSE_ASKED:
        job.yields_to = None  # what was to make room for another is now to stay paused
    before = State(job.state)
    after = move(before, cause)
    if after == before:
        return False
    _enter(job, after, cause, at)
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


def _enter(job: Job, state: State, cause: Cause, at: float) -> None:
    job.state = state.value
    job.updated_at = at
    job.wait_cause = job.expected_start = None
    job.finished_at = at if state in FINAL else None
    if state == State.RUNNING and job.started_at is None:
        job.started_at = at
    if state == State.QUEUED:
        job.back_at = at
    if cause in RENEWING:
        job.failures = 0
        job.queued_at = at
    if cause == Cause.RETRIED:
        job.failures += 1
    if state != State.PAUSING:
        job.yields_to = None
