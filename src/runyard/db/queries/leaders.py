"""Which engine leads: one row, whose lease is on the database's clock, and whose token fences every write."""

import time
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, text, update

from runyard.db.database import Session
from runyard.db.tables import Leader

ENGINE = "engine"
LEADING = select(Leader.owner, Leader.token).where(Leader.name == bindparam("leading"))


@dataclass(frozen=True)
class Seen:
    """The leader for those who look at it; `alive` is false once its lease has run out and nobody has taken over."""

    name: str
    since: float
    alive: bool


class NotLeadingError(RuntimeError):
    """Another engine leads now: nothing may be written or done any more."""


async def now(session: Session) -> float:
    """The database's clock; a file has none but that of its one process."""
    if session.get_bind().dialect.name == "sqlite":
        return time.time()
    found: float = await session.scalar(text("SELECT extract(epoch FROM clock_timestamp())::float8"))
    return found


async def get(session: Session) -> Leader | None:
    return await session.get(Leader, ENGINE)


async def seen(session: Session) -> Seen | None:
    leader = await get(session)
    return Seen(leader.owner, leader.since, leader.expires_at >= await now(session)) if leader else None


async def take(session: Session, owner: str, token: str, seconds: float) -> None:
    """Lead from now on, whoever did before."""
    at = await now(session)
    await session.merge(Leader(name=ENGINE, owner=owner, token=token, since=at, expires_at=at + seconds))


async def renew(session: Session, token: str, seconds: float) -> bool:
    """False if another has taken over; a lease that has run out with nobody to take it is good again."""
    leader = await get(session)
    if leader is None or leader.token != token:
        return False
    await session.execute(update(Leader).where(Leader.token == token).values(expires_at=await now(session) + seconds))
    return True


async def resign(session: Session, token: str) -> None:
    await session.execute(delete(Leader).where(Leader.token == token))


async def require(session: Session, token: str) -> None:
    """Raise NotLeadingError unless the token leads; writes are one at a time, so it does until this one is kept."""
    leader = (await session.execute(LEADING, {"leading": ENGINE})).first()
    if leader is None or leader.token != token:
        raise NotLeadingError(f"{leader.owner if leader else 'nobody'} leads now")
