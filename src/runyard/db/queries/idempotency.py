"""Which submission made which job."""

from collections.abc import Collection, Sequence

from sqlalchemy import bindparam, delete, insert, select, tuple_

from runyard.db.database import Session
from runyard.db.tables import IdempotencyKey

KNOWN = select(IdempotencyKey).where(
    tuple_(IdempotencyKey.user, IdempotencyKey.key).in_(bindparam("keys", expanding=True))
)

Key = tuple[str, str]
"""Whose it is, and the key itself."""


async def get(session: Session, user: str, key: str) -> IdempotencyKey | None:
    return await session.get(IdempotencyKey, (user, key))


async def get_all(session: Session, keys: Collection[Key]) -> dict[Key, IdempotencyKey]:
    """Those of the keys that are known."""
    if not keys:
        return {}
    found = await session.scalars(KNOWN, {"keys": list(keys)})
    return {(known.user, known.key): known for known in found}


async def forget(session: Session, user: str, key: str) -> None:
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.user == user, IdempotencyKey.key == key))


async def add(session: Session, key: IdempotencyKey) -> None:
    await add_all(session, [key])


async def add_all(session: Session, keys: Sequence[IdempotencyKey]) -> None:
    names = ("user", "key", "body_sha256", "job_id", "created_at")
    if keys:
        await session.execute(insert(IdempotencyKey), [{name: getattr(key, name) for name in names} for key in keys])
