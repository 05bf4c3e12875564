"""Files that a job keeps, each with its SHA-256."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import Artifact


async def record(session: Session, job_id: str, path: str, new_id: str, values: dict[str, Any]) -> None:
    """Add a file, or replace the one at the same path, which keeps its id."""
    known = await session.scalar(select(Artifact).where(Artifact.job_id == job_id, Artifact.path == path))
    if known is None:
        session.add(Artifact(id=new_id, job_id=job_id, path=path, **values))
        return
    for name, value in values.items():
        setattr(known, name, value)


async def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    return (await session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.path))).all()


async def get(session: Session, artifact_id: str) -> Artifact | None:
    return await session.get(Artifact, artifact_id)
