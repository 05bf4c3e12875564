"""The outbox: each message is written here with the place in the feed that was read to, and sent afterwards."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, func, or_, select

from runyard.db.database import Session
from runyard.db.tables import Channel, Cursor, Delivery, FeedEvent, Job
from runyard.domain.notices import FEED_TYPES

PENDING = "pending"
CURSOR = "notices"


class Told(NamedTuple):
    """An event of the feed of which people may want to hear, with its job."""

    id: int
    tenant: str
    at: float
    type: str
    data: dict[str, Any]
    job: dict[str, Any]
    notify: dict[str, Any] | None


JOB = (Job.id, Job.name, Job.kind, Job.user, Job.priority, Job.created_at, Job.started_at, Job.finished_at)
EVENT = (FeedEvent.id, FeedEvent.tenant, FeedEvent.at, FeedEvent.type, FeedEvent.data)
NEWS = select(*EVENT, Job.resolved_spec["notify"].label("notify"), *(c.label(f"job_{c.key}") for c in JOB))
NEWS = NEWS.join(Job, Job.id == FeedEvent.job_id).where(FeedEvent.type.in_(FEED_TYPES)).order_by(FeedEvent.id)


async def cursor(session: Session) -> int | None:
    """How much of the feed was read; None before it was ever read."""
    found = await session.get(Cursor, CURSOR)
    return None if found is None else found.position


async def move_cursor(session: Session, position: int) -> None:
    await session.merge(Cursor(name=CURSOR, position=position))


async def news(session: Session, after: int, limit: int) -> list[Told]:
    """In the order of the feed."""
    rows = await session.execute(NEWS.where(FeedEvent.id > after).limit(limit))
    return [
        Told(
            *(row.id, row.tenant, row.at, row.type, row.data),
            {column.key: getattr(row, f"job_{column.key}") for column in JOB},
            row.notify or None,
        )
        for row in rows
    ]


async def was_told(session: Session, channel_id: str, job_id: str, type_: str) -> bool:
    """Was it told since the job came into the line?"""
    since = select(Job.queued_at).where(Job.id == job_id).scalar_subquery()
    query = select(Delivery.id).where(
        Delivery.channel_id == channel_id,
        Delivery.job_id == job_id,
        Delivery.type == type_,
        Delivery.created_at >= since,
    )
    return await session.scalar(query.limit(1)) is not None


async def add(session: Session, delivery: Delivery) -> None:
    session.add(delivery)
    await session.flush()


async def with_channel(session: Session, delivery_id: str) -> tuple[Delivery, Channel] | None:
    query = select(Delivery, Channel).join(Channel, Channel.id == Delivery.channel_id)
    row = (await session.execute(query.where(Delivery.id == delivery_id))).first()
    return None if row is None else (row[0], row[1])


async def page(session: Session, channel_id: str, before: tuple[float, str] | None, limit: int) -> Sequence[Delivery]:
    """Newest first."""
    query = select(Delivery).where(Delivery.channel_id == channel_id)
    if before is not None:
        at, id_ = before
        query = query.where(or_(Delivery.created_at < at, (Delivery.created_at == at) & (Delivery.id < id_)))
    return (await session.scalars(query.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit))).all()


async def due(session: Session, now: float, busy: Collection[str], limit: int) -> Sequence[tuple[str, str]]:
    """Ids of what is to be sent and of its channel: the first of each channel, but of none that is busy."""
    place = func.row_number().over(partition_by=Delivery.channel_id, order_by=(Delivery.next_at, Delivery.id))
    first = select(Delivery.id, Delivery.channel_id, Delivery.next_at, place.label("place")).where(
        Delivery.next_at <= now, Delivery.channel_id.not_in(busy)
    )
    line = first.subquery()
    query = select(line.c.id, line.c.channel_id).where(line.c.place == 1).order_by(line.c.next_at).limit(limit)
    return [(row[0], row[1]) for row in await session.execute(query)]


async def forget(session: Session, before: float) -> None:
    """What was sent, or given up, long ago."""
    await session.execute(delete(Delivery).where(Delivery.created_at < before, Delivery.next_at.is_(None)))


async def due_of_channel(session: Session, channel_id: str, now: float) -> str | None:
    query = select(Delivery.id).where(Delivery.channel_id == channel_id, Delivery.next_at <= now)
    found: str | None = await session.scalar(query.order_by(Delivery.next_at, Delivery.id).limit(1))
    return found
