"""Jobs that are submitted at a time or by a cron line."""

from collections.abc import Sequence

from sqlalchemy import func, or_, select

from runyard.db.database import Session
from runyard.db.tables import Schedule


async def get(session: Session, name: str) -> Schedule | None:
    """The one with this id, else the one with this name."""
    found = await session.get(Schedule, name)
    return found or await session.scalar(select(Schedule).where(Schedule.name == name))


async def add(session: Session, schedule: Schedule) -> None:
    session.add(schedule)
    await session.flush()


async def delete(session: Session, schedule: Schedule) -> None:
    await session.delete(schedule)
    await session.flush()


async def page(session: Session, before: tuple[float, str] | None, limit: int) -> Sequence[Schedule]:
    """Newest first."""
    query = select(Schedule).order_by(Schedule.created_at.desc(), Schedule.id.desc()).limit(limit)
    if before is not None:
        at, id_ = before
        query = query.where(or_(Schedule.created_at < at, (Schedule.created_at == at) & (Schedule.id < id_)))
    return (await session.scalars(query)).all()


async def due(session: Session, now: float) -> Sequence[Schedule]:
    query = select(Schedule).where(Schedule.next_at <= now).order_by(Schedule.next_at, Schedule.id)
    return (await session.scalars(query)).all()


async def next_at(session: Session) -> float | None:
    """When the next one is due."""
    found: float | None = await session.scalar(select(func.min(Schedule.next_at)))
    return found


async def pending(session: Session) -> Sequence[Schedule]:
    """Those that will submit again, now or once they are resumed."""
    query = select(Schedule).where(or_(Schedule.next_at.is_not(None), Schedule.paused))
    return (await session.scalars(query.order_by(Schedule.created_at, Schedule.id))).all()
