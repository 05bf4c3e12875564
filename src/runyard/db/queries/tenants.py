"""Tenants."""

from collections.abc import Sequence

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import Tenant


async def get(session: Session, name: str) -> Tenant | None:
    return await session.get(Tenant, name)


async def all_(session: Session) -> Sequence[Tenant]:
    return (await session.scalars(select(Tenant).order_by(Tenant.name))).all()


async def add(session: Session, tenant: Tenant) -> None:
    session.add(tenant)
    await session.flush()
