"""What is counted over all tenants, for those who watch the installation."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from runyard.db.database import Session
from runyard.db.queries import jobs
from runyard.db.tables import Delivery, Job, Move
from runyard.domain.lifecycle import State

_came = aliased(Move)
_queued_at = (
    select(func.max(_came.at))
    .where(_came.job_id == Move.job_id, _came.id < Move.id, _came.after == State.QUEUED.value)
    .correlate(Move)
    .scalar_subquery()
)
CHANGES = select(Move.id, Move.before, Move.cause, Move.reason, Job.priority, (Move.at - _queued_at).label("since"))


class Line(NamedTuple):
    """`oldest` is when the one came that waits for longest."""

    by_state: dict[str, int]
    oldest: float | None


class Change(NamedTuple):
    """A job that moved; `since` is for how many seconds it had been in the line, or since it was there last."""

    id: int
    before: str | None
    cause: str
    reason: str | None
    priority: str
    since: float | None


async def line(session: Session) -> Line:
    came = func.coalesce(Job.back_at, Job.queued_at)
    oldest: float | None = await session.scalar(select(func.min(came)).where(Job.state == State.QUEUED.value))
    return Line(await jobs.count_by_state(session), oldest)


async def undelivered(session: Session) -> int:
    """Messages that are still to be sent."""
    return await session.scalar(select(func.count()).where(Delivery.next_at.is_not(None))) or 0


async def last_change(session: Session) -> int:
    return await session.scalar(select(func.max(Move.id))) or 0


async def changes(session: Session, after: int, limit: int) -> Sequence[Change]:
    """In the order in which they happened."""
    query = CHANGES.join(Job, Job.id == Move.job_id).where(Move.id > after).order_by(Move.id).limit(limit)
    return [Change(*row) for row in await session.execute(query)]
