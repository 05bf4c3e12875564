"""Sealed values."""

from collections.abc import Collection, Sequence

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import Secret


async def get(session: Session, tenant: str, name: str) -> Secret | None:
    return await session.get(Secret, (tenant, name))


async def of_tenant(session: Session, tenant: str) -> Sequence[Secret]:
    return (await session.scalars(select(Secret).where(Secret.tenant == tenant).order_by(Secret.name))).all()


async def named(session: Session, tenant: str, names: Collection[str]) -> dict[str, bytes]:
    """Those of the names that there are, sealed."""
    if not names:
        return {}
    query = select(Secret.name, Secret.sealed).where(Secret.tenant == tenant, Secret.name.in_(names))
    return {name: sealed for name, sealed in await session.execute(query)}


async def put(session: Session, secret: Secret) -> None:
    await session.merge(secret)


async def remove(session: Session, secret: Secret) -> None:
    await session.delete(secret)
