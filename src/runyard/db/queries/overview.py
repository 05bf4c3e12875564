"""What pages show of many jobs at once: short lists, without the specs, which may be long."""

from collections.abc import Collection, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import defer

from runyard.db.database import Session
from runyard.db.tables import IS_TURN, FeedEvent, Job, Move
from runyard.domain.lifecycle import ACTIVE, FINAL

MOST_RUNS = 500
BRIEF = select(Job).options(defer(Job.spec, raiseload=True), defer(Job.resolved_spec, raiseload=True))


async def in_states(session: Session, states: Collection[str], limit: int) -> Sequence[Job]:
    """Newest start first: an order that never changes while somebody reads."""
    began = Job.started_at.desc().nulls_first(), Job.created_at.desc(), Job.id
    return await _few(session, _there().where(Job.state.in_(states)).order_by(*began), limit)


async def in_line(session: Session, limit: int) -> Sequence[Job]:
    """Those that wait, oldest first."""
    return await _few(session, _there().where(Job.state == "queued").order_by(Job.queued_at, Job.id), limit)


async def ended_since(session: Session, states: Collection[str], at: float, limit: int) -> Sequence[Job]:
    """Last ended first."""
    query = _there().where(Job.state.in_(states), Job.finished_at > at)
    return await _few(session, query.order_by(Job.finished_at.desc(), Job.id), limit)


async def left_since(session: Session, at: float, limit: int) -> Sequence[Job]:
    """Those that held a machine until they ended, since then; last ended first."""
    held = select(Move.id).where(Move.job_id == Job.id, Move.after == Job.state, Move.before.in_(ACTIVE))
    held = held.where(Move.at == Job.finished_at)
    query = _there().where(Job.state.in_(FINAL), Job.finished_at > at, held.exists())
    return await _few(session, query.order_by(Job.finished_at.desc(), Job.id), limit)


async def told(session: Session, job_id: str, types: Collection[str], limit: int) -> Sequence[FeedEvent]:
    """The newest events of these types of a job, newest first; of those that don't come with every step."""
    query = select(FeedEvent).where(FeedEvent.job_id == job_id, IS_TURN, FeedEvent.type.in_(types))
    return (await session.scalars(query.order_by(FeedEvent.id.desc()).limit(limit))).all()


async def best(session: Session, since: float) -> Sequence[Job]:
    """The best run of each experiment that was worked on since then, those with the newest runs first."""
    query = _there().where(Job.experiment.is_not(None), Job.best_value.is_not(None), Job.created_at > since)
    rows = (await session.scalars(query.order_by(Job.created_at.desc()).limit(MOST_RUNS))).all()
    found: dict[str | None, Job] = {}
    for job in rows:
        known = found.get(job.experiment)
        if known is None or (job.best_value or 0.0) < (known.best_value or 0.0):
            found[job.experiment] = job
    return list(found.values())


def _there() -> Select[Job]:
    return BRIEF.where(Job.removed_at.is_(None))


async def _few(session: Session, query: Select[Job], limit: int) -> Sequence[Job]:
    return (await session.scalars(query.limit(limit))).all()
