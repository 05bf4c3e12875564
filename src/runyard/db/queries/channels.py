"""Channels: where somebody wants to be told."""

from collections.abc import Collection, Sequence

from sqlalchemy import func, select

from runyard.db.database import Session
from runyard.db.tables import Channel


async def get(session: Session, channel_id: str) -> Channel | None:
    return await session.get(Channel, channel_id)


async def named(session: Session, tenant: str, name: str) -> Channel | None:
    found: Channel | None = await session.scalar(select(Channel).where(Channel.tenant == tenant, Channel.name == name))
    return found


async def of_tenant(session: Session, tenant: str) -> Sequence[Channel]:
    return (await session.scalars(select(Channel).where(Channel.tenant == tenant).order_by(Channel.name))).all()


async def count(session: Session, tenant: str) -> int:
    return await session.scalar(select(func.count()).where(Channel.tenant == tenant)) or 0


async def enabled(session: Session, tenants: Collection[str] | None = None) -> Sequence[Channel]:
    query = select(Channel).where(Channel.enabled)
    return (await session.scalars(query if tenants is None else query.where(Channel.tenant.in_(tenants)))).all()


async def add(session: Session, channel: Channel) -> None:
    session.add(channel)
    await session.flush()


async def remove(session: Session, channel: Channel) -> None:
    """With all that was to be sent there."""
    await session.delete(channel)
    await session.flush()
