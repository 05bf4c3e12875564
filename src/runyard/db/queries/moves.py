"""The history of a job's state."""

from collections.abc import Sequence

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import Move
from runyard.domain.lifecycle import State


async def of_job(session: Session, job_id: str) -> Sequence[Move]:
    return (await session.scalars(select(Move).where(Move.job_id == job_id).order_by(Move.id))).all()


async def was_held(session: Session, job_id: str) -> bool:
    """Was it waiting in line when it was paused?"""
    query = select(Move.before).where(Move.job_id == job_id).order_by(Move.id.desc()).limit(1)
    return await session.scalar(query) == State.QUEUED


async def submitted_by(session: Session, job_id: str) -> str | None:
    """Who asked for a job."""
    query = select(Move.actor).where(Move.job_id == job_id).order_by(Move.id).limit(1)
    actor: str | None = await session.scalar(query)
    return actor
