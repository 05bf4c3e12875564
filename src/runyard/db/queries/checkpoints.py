"""Checkpoints that a job has written, and those it has rotated away."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update

from runyard.db.database import Session
from runyard.db.tables import Checkpoint


async def record(session: Session, job_id: str, step: int, values: dict[str, Any]) -> None:
    """Add a complete checkpoint, or replace the one of the same step; at most one is the best."""
    if values["best"]:
        await session.execute(update(Checkpoint).where(Checkpoint.job_id == job_id).values(best=False))
    await session.merge(Checkpoint(job_id=job_id, step=step, removed_at=None, **values))


async def mark_removed(session: Session, job_id: str, step: int, at: float) -> None:
    if checkpoint := await session.get(Checkpoint, (job_id, step)):
        checkpoint.removed_at = at


async def of_job(session: Session, job_id: str) -> Sequence[Checkpoint]:
    return (
        await session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step))
    ).all()


async def get(session: Session, job_id: str, step: int) -> Checkpoint | None:
    return await session.get(Checkpoint, (job_id, step))
