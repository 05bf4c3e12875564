"""The line of waiting jobs: who is in it, who is ahead of whom, and what they are told."""

from collections.abc import Collection, Sequence
from itertools import starmap

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update

from runyard.db.database import Session
from runyard.db.queries import events
from runyard.db.tables import Job
from runyard.domain.lifecycle import State
from runyard.domain.placement import Wait, Waiting, order, words
from runyard.domain.retries import MOST_SECONDS

IS_QUEUED = Job.state == State.QUEUED.value


async def waiting(session: Session, now: float, head: int | None = None) -> list[Waiting]:
    """Everybody but those that are to wait longer, or so many at the head of the line. There may be many: their long
    rows are not looked at, and no objects are made of them on the way."""
    row = Job.__table__.c
    columns = (row.id, row.priority, row.queued_at, row.gpus, row.gpu_memory_mb, row.cpus, row.memory_mb)
    query = select(*columns, row.user, row.estimated_seconds, row.back_at).where(IS_QUEUED, _may_start(now))
    if head is not None:
        query = query.order_by(_rank(now), row.queued_at, row.id).limit(head)
    rows = await (await session.connection()).execute(query)
    return list(starmap(Waiting, rows.all()))


async def next_start(session: Session, now: float) -> float | None:
    """When the next of the jobs that are to wait longer may start."""
    found: float | None = await session.scalar(select(func.min(Job.not_before)).where(IS_QUEUED, ~_may_start(now)))
    return found


async def places(session: Session, job_ids: Collection[str], now: float) -> dict[str, int]:
    """Places in line, counted from 1, of those of the jobs that stand in it."""
    place = func.row_number().over(order_by=(_rank(now), Job.queued_at, Job.id)).label("place")
    line = select(Job.id, place).where(IS_QUEUED, _may_start(now)).subquery()
    rows = await session.execute(select(line.c.id, line.c.place).where(line.c.id.in_(job_ids)))
    return {job_id: position for job_id, position in rows}


async def lengths(session: Session, now: float) -> dict[int, int]:
    """How many stand in line, by the rank that they count as."""
    ranks = select(_rank(now).label("rank")).where(IS_QUEUED, _may_start(now)).subquery()
    rows = await session.execute(select(ranks.c.rank, func.count()).group_by(ranks.c.rank))
    return {rank: count for rank, count in rows}


async def tell(session: Session, waits: Sequence[Wait], nothing: Collection[str], at: float) -> None:
    """Write to the rows why jobs wait, and tell the feed; of the others nothing is known any more.

    Who has left the line since it was read is told nothing.
    """
    if nothing:
        told = update(Job).where(Job.id.in_(nothing), IS_QUEUED)
        await session.execute(told.values(wait_cause=None, expected_start=None))
    waits = await _still_waiting(session, waits)
    if not waits:
        return
    rows = [{"id": wait.job_id, "wait_cause": wait.cause, "expected_start": wait.expected} for wait in waits]
    await session.execute(update(Job), rows)
    await events.append_all(
        session,
        [
            {
                "job_id": wait.job_id,
                "at": at,
                "type": "queue",
                "data": {"position": wait.position, "wait_cause": words.sentence(wait, at)},
            }
            for wait in waits
        ],
    )


async def _still_waiting(session: Session, waits: Sequence[Wait]) -> list[Wait]:
    ids = [wait.job_id for wait in waits]
    found = set(await session.scalars(select(Job.id).where(Job.id.in_(ids), IS_QUEUED))) if ids else set()
    return [wait for wait in waits if wait.job_id in found]


async def told(session: Session) -> Sequence[str]:
    """Ids of those whose rows say why they wait."""
    return (await session.scalars(select(Job.id).where(IS_QUEUED, Job.wait_cause.is_not(None)))).all()


def _may_start(now: float) -> ColumnElement[bool]:
    """A time farther away than any pause lasts is from before the clock was set back."""
    return or_(Job.not_before.is_(None), Job.not_before <= now, Job.not_before > now + MOST_SECONDS)


def _rank(now: float) -> ColumnElement[int]:
    """`order.rank` for the database."""
    since = func.coalesce(Job.back_at, Job.queued_at)
    aged = [
        (and_(Job.priority == priority, since <= now - age), rank)
        for priority in order.RANK
        for rank, age in order.ages(priority)
        if age
    ]
    return case(*aged, *((Job.priority == priority, rank) for priority, rank in order.RANK.items()))
