"""Which submission made which job."""

from collections.abc import Collection, Sequence

from sqlalchemy import bindparam, insert, select

from runyard.db.database import Session
from runyard.db.tables import IdempotencyKey

KNOWN = select(IdempotencyKey).where(IdempotencyKey.key.in_(bindparam("keys", expanding=True)))


async def get(session: Session, key: str) -> IdempotencyKey | None:
    return await session.get(IdempotencyKey, key)


async def get_all(session: Session, keys: Collection[str]) -> dict[str, IdempotencyKey]:
    """Those of the keys that are known."""
    if not keys:
        return {}
    found = await session.scalars(KNOWN, {"keys": list(keys)})
    return {known.key: known for known in found}


async def add(session: Session, key: IdempotencyKey) -> None:
    await add_all(session, [key])


async def add_all(session: Session, keys: Sequence[IdempotencyKey]) -> None:
    names = ("key", "body_sha256", "job_id", "created_at")
    if keys:
        await session.execute(insert(IdempotencyKey), [{name: getattr(key, name) for name in names} for key in keys])
