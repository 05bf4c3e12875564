"""Which submission made which job."""

from runyard.db.database import Session
from runyard.db.tables import IdempotencyKey


async def get(session: Session, key: str) -> IdempotencyKey | None:
    return await session.get(IdempotencyKey, key)


async def add(session: Session, key: IdempotencyKey) -> None:
    session.add(key)
    await session.flush()
