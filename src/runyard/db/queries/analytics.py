"""What figures of many jobs are made of."""

from collections.abc import Sequence

from sqlalchemy import func, select

from runyard.db.database import Session
from runyard.db.tables import Attempt, Job, JobTotal, Move
from runyard.domain.lifecycle import FINAL, State
from runyard.domain.trends import WEEK, End, Stay, Wait


async def totals(session: Session) -> Sequence[JobTotal]:
    """One for each state (and tenant, where the session is for all)."""
    return (await session.scalars(select(JobTotal).where(JobTotal.jobs > 0))).all()


async def best_alike(session: Session, job: Job) -> float | None:
    """The highest throughput of other completed jobs of the same workload."""
    if job.workload is None:
        return None
    query = select(Job.throughput).where(Job.workload == job.workload, Job.state == State.COMPLETED.value)
    query = query.where(Job.throughput.is_not(None), Job.id != job.id, Job.removed_at.is_(None))
    found: float | None = await session.scalar(query.order_by(Job.throughput.desc()).limit(1))
    return found


async def stays(session: Session, since: float, until: float) -> list[Stay]:
    """Attempts that held a machine at any moment of a span of time."""
    began = func.coalesce(Attempt.started_at, Attempt.created_at)
    query = select(Job.user, Attempt.gpus, began, Attempt.ended_at).join(Job, Job.id == Attempt.job_id)
    query = query.where(began < until, func.coalesce(Attempt.ended_at, until) > since)
    return [Stay(user, len(gpus), at, ended) for user, gpus, at, ended in await session.execute(query)]


async def waits(session: Session, since: float, until: float) -> list[Wait]:
    """Of jobs that were placed in a span of time, and have come into the line a week before it at most."""
    before = func.lag(Move.at).over(partition_by=Move.job_id, order_by=Move.id)
    line = (State.QUEUED.value, State.STARTING.value)
    moves = select(Move.job_id, Move.at, Move.after, before.label("queued_at"))
    inner = moves.where(Move.after.in_(line), Move.at >= since - WEEK, Move.at < until).subquery()
    query = select(Job.user, inner.c.at, inner.c.queued_at).join(Job, Job.id == inner.c.job_id)
    query = query.where(inner.c.after == State.STARTING.value, inner.c.at >= since, inner.c.queued_at.is_not(None))
    return [Wait(user, at, max(0.0, at - queued)) for user, at, queued in await session.execute(query)]


async def ends(session: Session, since: float, until: float) -> list[End]:
    columns = (Job.user, Job.finished_at, Job.state, Job.reason, Job.throughput)
    final = [state.value for state in FINAL]
    query = select(*columns).where(Job.state.in_(final), Job.finished_at >= since, Job.finished_at < until)
    rows = await session.execute(query.where(Job.removed_at.is_(None)))
    return [End(user, at or 0.0, state, reason, speed) for user, at, state, reason, speed in rows]
