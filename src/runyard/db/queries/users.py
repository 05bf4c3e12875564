"""Accounts."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import Tenant, User


class Known(NamedTuple):
    """A user, and what the tenant lets its jobs be."""

    user: User
    scripts: bool


async def get(session: Session, name: str) -> User | None:
    return await session.get(User, name)


async def known(session: Session, name: str) -> Known | None:
    """One who may sign in."""
    query = select(User, Tenant.scripts).join(Tenant, Tenant.name == User.tenant)
    row = (await session.execute(query.where(User.name == name, User.enabled))).first()
    return Known(*row) if row else None


async def with_subject(session: Session, subject: str) -> str | None:
    """The name of who this is for the outside issuer."""
    found: str | None = await session.scalar(select(User.name).where(User.subject == subject))
    return found


async def exist(session: Session, but: str) -> bool:
    """Is there an account besides one?"""
    return await session.scalar(select(User.name).where(User.name != but).limit(1)) is not None


async def operators(session: Session, but: Collection[str]) -> Sequence[str]:
    """Names of those who may operate the installation, besides some."""
    query = select(User.name).where(User.operator, User.enabled, User.name.not_in(but))
    return (await session.scalars(query)).all()


async def all_(session: Session) -> Sequence[User]:
    return (await session.scalars(select(User).order_by(User.tenant, User.name))).all()


async def add(session: Session, user: User) -> None:
    session.add(user)
    await session.flush()
