"""The number that counts up when somebody's rights have changed."""

from sqlalchemy import select, update

from runyard.db.database import Session
from runyard.db.tables import Access

ALL = "all"
REVISION = select(Access.revision).where(Access.name == ALL)


async def revision(session: Session) -> int:
    return await session.scalar(REVISION) or 0


async def changed(session: Session) -> None:
    """What any process remembers of anybody's rights is no longer so."""
    counted = update(Access).where(Access.name == ALL).values(revision=Access.revision + 1)
    if (await session.execute(counted.returning(Access.name))).first() is None:
        session.add(Access(name=ALL, revision=1))
