"""The feed: what open pages are told, in the order of its ids."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from sqlalchemy import bindparam, func, insert, or_, select

from runyard.db.database import Session
from runyard.db.tables import IS_TURN, FeedEvent, Job, Table
from runyard.protocol.notices import Occasion

FEED = Table.metadata.tables[FeedEvent.__tablename__]
WHOSE = select(Job.tenant).where(Job.id == bindparam("whose")).scalar_subquery()


class Event(NamedTuple):
    """A row as it was read: who follows the feed reads many, and needs none that notice when they are changed."""

    id: int
    tenant: str
    job_id: str
    at: float
    type: str
    data: dict[str, Any]


class Message(NamedTuple):
    """A sentence for people about an attempt; `data` is for programs. What trainers say has no `notice`."""

    attempt: int
    text: str
    level: Literal["info", "warning"] = "warning"
    data: Mapping[str, Any] = MappingProxyType({})
    notice: Occasion | None = None
    """What people may want to be told of by it."""


AFTER = (
    select(*(getattr(FeedEvent, name) for name in Event._fields))
    .where(FeedEvent.id > bindparam("cursor"))
    .order_by(FeedEvent.id)
    .limit(bindparam("most"))
)
AFTER_OF_JOB = AFTER.where(FeedEvent.job_id == bindparam("of_job"))
APPEND = insert(FEED).values(tenant=WHOSE)


async def append(session: Session, job_id: str, at: float, type_: str, data: dict[str, Any]) -> FeedEvent:
    whose = select(Job.tenant).where(Job.id == job_id).scalar_subquery()
    event = FeedEvent(tenant=whose, job_id=job_id, at=at, type=type_, data=data)
    session.add(event)
    await session.flush()
    return event


async def say(session: Session, job_id: str, at: float, message: Message) -> None:
    """Tell whoever follows a job, as its trainer would."""
    data = {**message._asdict(), "data": dict(message.data)}
    if message.notice is None:
        del data["notice"]
    await append(session, job_id, at, "message", data)


async def append_all(session: Session, events: Sequence[dict[str, Any]]) -> None:
    """Many at once, in their order; each has `job_id`, `at`, `type` and `data`."""
    if events:
        await session.execute(APPEND, [{"whose": event["job_id"], **event} for event in events])


async def after(session: Session, cursor: int, job_id: str | None = None, limit: int = 1000) -> list[Event]:
    query = AFTER if job_id is None else AFTER_OF_JOB
    rows = await session.execute(query, {"cursor": cursor, "most": limit, "of_job": job_id})
    return [Event(*row) for row in rows]


async def last_id(session: Session) -> int:
    return await session.scalar(select(func.max(FeedEvent.id))) or 0


async def last_word(session: Session, job_id: str, attempt: int) -> dict[str, Any] | None:
    """What the trainer of an attempt said when it finished, if it did."""
    query = (
        select(FeedEvent.data)
        .where(FeedEvent.job_id == job_id, IS_TURN, FeedEvent.type == "finished")
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
        IS_TURN,
        FeedEvent.type == "message",
        or_(told["choice"]["field"].as_string().is_not(None), told["longest"].as_string().is_not(None)),
    )
    return [data["data"] for data in await session.scalars(query.order_by(FeedEvent.id))]
