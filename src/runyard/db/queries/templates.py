"""Versions of templates. What is asked for by name is the tenant's of the session."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.orm import aliased, defer

from runyard.db.database import Session
from runyard.db.tables import Template

WITHOUT_SPEC = defer(Template.spec, raiseload=True)


async def get(session: Session, name: str, version: int | None = None) -> Template | None:
    """The newest version, unless one is named."""
    query = select(Template).where(Template.name == name).order_by(Template.version.desc()).limit(1)
    return await session.scalar(query if version is None else query.where(Template.version == version))


async def by_id(session: Session, template_id: str) -> Template | None:
    return await session.get(Template, template_id)


async def page(session: Session, before: tuple[float, str] | None, limit: int) -> Sequence[Template]:
    """The newest version of each, those that were saved last before the others, without their specs."""
    newer = aliased(Template)
    is_old = exists().where(
        newer.tenant == Template.tenant, newer.name == Template.name, newer.version > Template.version
    )
    return await _page(session, select(Template).where(~is_old), before, limit)


async def versions(session: Session, name: str, before: tuple[float, str] | None, limit: int) -> Sequence[Template]:
    """Newest first, without their specs."""
    return await _page(session, select(Template).where(Template.name == name), before, limit)


async def _page(session: Session, query: Any, before: tuple[float, str] | None, limit: int) -> Sequence[Template]:
    if before is not None:
        at, id_ = before
        query = query.where(or_(Template.created_at < at, (Template.created_at == at) & (Template.id < id_)))
    query = query.order_by(Template.created_at.desc(), Template.id.desc()).limit(limit).options(WITHOUT_SPEC)
    found: Sequence[Template] = (await session.scalars(query)).all()
    return found


async def count(session: Session) -> int:
    """How many names."""
    return await session.scalar(select(func.count(Template.name.distinct()))) or 0


async def add(session: Session, template: Template) -> None:
    session.add(template)
    await session.flush()


async def delete_all(session: Session, name: str) -> None:
    """Every version."""
    await session.execute(delete(Template).where(Template.name == name))
