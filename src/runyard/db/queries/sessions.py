"""Those who signed in with a password."""

from sqlalchemy import delete, select

from runyard.db.database import Session
from runyard.db.tables import BrowserSession


async def get(session: Session, sha256: str) -> BrowserSession | None:
    return await session.get(BrowserSession, sha256)


async def add(session: Session, new: BrowserSession) -> None:
    session.add(new)
    await session.flush()


async def end(session: Session, sha256: str) -> None:
    await session.execute(delete(BrowserSession).where(BrowserSession.sha256 == sha256))


async def end_all(session: Session, user: str, but: str | None = None) -> None:
    """Of a user, besides one."""
    theirs = delete(BrowserSession).where(BrowserSession.user == user)
    await session.execute(theirs if but is None else theirs.where(BrowserSession.sha256 != but))


async def forget_expired(session: Session, now: float) -> None:
    # Only those that are there: most often there are none, and nothing is written.
    if await session.scalar(select(BrowserSession.sha256).where(BrowserSession.expires_at <= now).limit(1)):
        await session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))
