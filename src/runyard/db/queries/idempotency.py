"""Which submission made which job."""

from collections.abc import Collection

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import IdempotencyKey


async def get(session: Session, key: str) -> IdempotencyKey | None:
    return await session.get(IdempotencyKey, key)


async def get_all(session: Session, keys: Collection[str]) -> dict[str, IdempotencyKey]:
    """Those of the keys that are known."""
    if not keys:
        return {}
    found = await session.scalars(select(IdempotencyKey).where(IdempotencyKey.key.in_(keys)))
    return {known.key: known for known in found}


async def add(session: Session, key: IdempotencyKey) -> None:
    session.add(key)
    await session.flush()
