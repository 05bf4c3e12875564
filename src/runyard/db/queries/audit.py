"""The audit log: rows are added, and nothing else is ever done to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from runyard.db.database import Session
from runyard.db.tables import AuditEntry


@dataclass(frozen=True)
class Filter:
    """None lets everything pass; times are seconds since the epoch."""

    user: str | None = None
    action: str | None = None
    target: str | None = None
    refused: bool | None = None
    since: float | None = None
    until: float | None = None


async def add_all(session: Session, entries: Sequence[dict[str, Any]]) -> None:
    if entries:
        await session.execute(insert(AuditEntry), entries)


async def page(session: Session, wanted: Filter, before: int | None, limit: int) -> Sequence[AuditEntry]:
    """Newest first."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    for column in (AuditEntry.user, AuditEntry.action, AuditEntry.target):
        if (value := getattr(wanted, column.key)) is not None:
            query = query.where(column == value)
    if wanted.refused is not None:
        query = query.where(AuditEntry.refused.is_not(None) if wanted.refused else AuditEntry.refused.is_(None))
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntry.at < wanted.until)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return (await session.scalars(query)).all()
