"""The line of waiting jobs: who is in it, who is ahead of whom, and what they are told."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    Integer,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import defer

from runyard.db.database import Session
from runyard.db.queries import events
from runyard.db.tables import Job
from runyard.domain.lifecycle import State
from runyard.domain.placement import Wait, Waiting, order, words
from runyard.domain.retries import MOST_SECONDS

IS_QUEUED = Job.state == State.QUEUED.value
NOW: BindParameter[float] = bindparam("now", type_=Double)
MAY_START = or_(Job.not_before.is_(None), Job.not_before <= NOW, Job.not_before > NOW + MOST_SECONDS)
"""A time farther away than any pause lasts is from before the clock was set back."""


def _rank() -> ColumnElement[int]:
    """`order.rank` for the database."""
    since = func.coalesce(Job.back_at, Job.queued_at)
    aged = [
        (and_(Job.priority == priority, since <= NOW - age), rank)
        for priority in order.RANK
        for rank, age in order.ages(priority)
        if age
    ]
    return case(*aged, *((Job.priority == priority, rank) for priority, rank in order.RANK.items()))


# Built once: to build them takes longer than to execute them on a short line.
_by_priority_and_age = _rank()
RANK = _by_priority_and_age.label("rank")
IN_LINE = and_(IS_QUEUED, MAY_START)
_row = Job.__table__.c
WAITING = select(
    *(_row.id, _row.priority, _row.queued_at, _row.gpus, _row.gpu_memory_mb, _row.cpus, _row.memory_mb),
    *(_row.user, _row.estimated_seconds, _row.back_at, _row.tenant),
).where(IN_LINE)
HEAD = WAITING.order_by(RANK, _row.queued_at, _row.id).limit(bindparam("head", type_=Integer))
NEXT_START = select(func.min(Job.not_before)).where(IS_QUEUED, ~MAY_START)
_ranks = select(RANK).where(IN_LINE).subquery()
LENGTHS = select(_ranks.c.rank, func.count()).group_by(_ranks.c.rank)
_place = func.row_number().over(order_by=(RANK, Job.queued_at, Job.id)).label("place")
_line = select(Job.id, _place).where(IN_LINE).subquery()
TOLD = select(Job.id).where(IS_QUEUED, Job.wait_cause.is_not(None))
TOLD_AMONG = TOLD.where(Job.id.in_(bindparam("ids", expanding=True)))
PLACES = select(_line.c.id, _line.c.place).where(_line.c.id.in_(bindparam("ids", expanding=True)))


async def waiting(session: Session, now: float, head: int | None = None) -> list[Waiting]:
    """Everybody but those that are to wait longer, or so many at the head of the line. There may be many: their long
    rows are not looked at, and no objects are made of them on the way."""
    rows = await session.execute(WAITING if head is None else HEAD, {"now": now, "head": head})
    return list(starmap(Waiting, rows.all()))


async def next_start(session: Session, now: float) -> float | None:
    """When the next of the jobs that are to wait longer may start."""
    found: float | None = await session.scalar(NEXT_START, {"now": now})
    return found


async def places(session: Session, job_ids: Collection[str], now: float) -> dict[str, int]:
    """Places in line, counted from 1, of those of the jobs that stand in it."""
    rows = await session.execute(PLACES, {"now": now, "ids": list(job_ids)})
    return {job_id: position for job_id, position in rows}


async def first(session: Session, now: float) -> tuple[str, str] | None:
    """Name and tenant of the job at the head of the line."""
    query = select(Job.name, Job.tenant).where(IN_LINE).order_by(RANK, Job.queued_at, Job.id).limit(1)
    row = (await session.execute(query, {"now": now})).first()
    return None if row is None else (row[0], row[1])


@dataclass(frozen=True)
class Between:
    """Of those that stand between two places: how many, and the first few, as (name, tenant)."""

    count: int = 0
    first: Sequence[tuple[str, str]] = ()


async def between(
    session: Session, job: Job, ranks: tuple[int | None, int | None], now: float, most: int = 2
) -> Between:
    """Who stands in line after where the job would stand with the first rank, and before where with the second; None
    is the end of the line."""
    key = tuple_(_by_priority_and_age, Job.queued_at, Job.id)
    low, high = (
        None if rank is None else tuple_(literal(rank), literal(job.queued_at), literal(job.id)) for rank in ranks
    )
    query = select(Job.name, Job.tenant, func.count().over()).where(IN_LINE, Job.id != job.id)
    if low is not None:
        query = query.where(key > low)
    if high is not None:
        query = query.where(key < high)
    rows = (await session.execute(query.order_by(RANK, Job.queued_at, Job.id).limit(most), {"now": now})).all()
    return Between(rows[0][2], [(name, tenant) for name, tenant, _ in rows]) if rows else Between()


async def lengths(session: Session, now: float) -> dict[int, int]:
    """How many stand in line, by the rank that they count as."""
    return {rank: count for rank, count in await session.execute(LENGTHS, {"now": now})}


async def tell(session: Session, waits: Sequence[Wait], nothing: Collection[str], at: float) -> None:
    """Write to the rows why jobs wait, and tell the feed; of the others nothing is known any more.

    Who has left the line since it was read is told nothing.
    """
    if nothing:
        told = update(Job).where(Job.id.in_(nothing), IS_QUEUED)
        await session.execute(told.values(wait_cause=None, expected_start=None, expected_place=None))
    waits = await _still_waiting(session, waits)
    if not waits:
        return
    await session.execute(
        update(Job), [{"id": wait.job_id, "wait_cause": wait.cause, **_start(wait)} for wait in waits]
    )
    await events.append_all(
        session,
        [
            {
                "job_id": wait.job_id,
                "at": at,
                "type": "queue",
                "data": {"position": wait.position, "wait_cause": words.sentence(wait, at)}
                | ({"never": True} if wait.never else {}),
            }
            for wait in waits
        ],
    )


def _start(wait: Wait) -> dict[str, Any]:
    at, place = None, None
    if wait.expected is not None:
        at, place = wait.expected.at, {"machine": wait.expected.machine, "gpus": list(wait.expected.gpus)}
    return {"expected_start": at, "expected_place": place}


async def _still_waiting(session: Session, waits: Sequence[Wait]) -> list[Wait]:
    ids = [wait.job_id for wait in waits]
    found = set(await session.scalars(select(Job.id).where(Job.id.in_(ids), IS_QUEUED))) if ids else set()
    return [wait for wait in waits if wait.job_id in found]


async def expected(session: Session) -> Sequence[Job]:
    """Those of whom it is known when and where they may start."""
    query = select(Job).options(defer(Job.spec, raiseload=True), defer(Job.resolved_spec, raiseload=True))
    query = query.where(IS_QUEUED, Job.expected_start.is_not(None)).order_by(Job.expected_start, Job.id)
    return (await session.scalars(query)).all()


async def told(session: Session, among: Collection[str] | None = None) -> Sequence[str]:
    """Ids of those whose rows say why they wait: of these, or of all, who may be many."""
    if among is None:
        return (await session.scalars(TOLD)).all()
    return (await session.scalars(TOLD_AMONG, {"ids": list(among)})).all() if among else ()
