"""Keys of programs."""

from collections.abc import Sequence

from sqlalchemy import func, select, update

from runyard.db.database import Session
from runyard.db.tables import ApiKey


async def with_sha256(session: Session, sha256: str) -> ApiKey | None:
    return await session.scalar(select(ApiKey).where(ApiKey.sha256 == sha256))


async def get(session: Session, key_id: str) -> ApiKey | None:
    return await session.get(ApiKey, key_id)


async def page(session: Session, user: str | None) -> Sequence[ApiKey]:
    """Of one user, or of everybody, newest first."""
    query = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)
    return (await session.scalars(query if user is None else query.where(ApiKey.user == user))).all()


async def count(session: Session, user: str) -> int:
    """Those that were not revoked."""
    query = select(func.count()).where(ApiKey.user == user, ApiKey.revoked_at.is_(None))
    return await session.scalar(query) or 0


async def add(session: Session, key: ApiKey) -> None:
    session.add(key)
    await session.flush()


async def note_use(session: Session, key_id: str, at: float) -> None:
    await session.execute(update(ApiKey).where(ApiKey.id == key_id).values(used_at=at))
