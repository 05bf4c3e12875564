"""The feed: what open pages are told, in the order of its ids."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, or_, select

from runyard.db.database import Session
from runyard.db.tables import FeedEvent, Table

FEED = Table.metadata.tables[FeedEvent.__tablename__]


async def append(session: Session, job_id: str, at: float, type_: str, data: dict[str, Any]) -> FeedEvent:
    event = FeedEvent(job_id=job_id, at=at, type=type_, data=data)
    session.add(event)
    await session.flush()
    return event


async def append_all(session: Session, events: Sequence[dict[str, Any]]) -> None:
    """Many at once, in their order; each has `job_id`, `at`, `type` and `data`."""
    if events:
        await (await session.connection()).execute(insert(FEED), events)


async def after(session: Session, cursor: int, job_id: str | None = None, limit: int = 1000) -> Sequence[FeedEvent]:
    query = select(FeedEvent).where(FeedEvent.id > cursor).order_by(FeedEvent.id).limit(limit)
    if job_id is not None:
        query = query.where(FeedEvent.job_id == job_id)
    return (await session.scalars(query)).all()


async def last_id(session: Session) -> int:
    return await session.scalar(select(func.max(FeedEvent.id))) or 0


async def last_word(session: Session, job_id: str, attempt: int) -> dict[str, Any] | None:
    """What the trainer of an attempt said when it finished, if it did."""
    query = (
        select(FeedEvent.data)
        .where(FeedEvent.job_id == job_id, FeedEvent.type == "finished")
        .order_by(FeedEvent.id.desc())
        .limit(1)
    )
    data = await session.scalar(query)
    return data if data and data["attempt"] == attempt else None


async def settled(session: Session, job_id: str) -> list[dict[str, Any]]:
    """The data of messages in which a trainer told what it chose, and of what lengths the rows are; oldest first."""
    told = FeedEvent.data["data"]
    query = select(FeedEvent.data).where(
        FeedEvent.job_id == job_id,
        FeedEvent.type == "message",
        or_(told["choice"]["field"].as_string().is_not(None), told["longest"].as_string().is_not(None)),
    )
    return [data["data"] for data in await session.scalars(query.order_by(FeedEvent.id))]
