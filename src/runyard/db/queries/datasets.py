"""Uploaded data sets."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import defer

from runyard.db.database import Session
from runyard.db.tables import DataSet, Job
from runyard.domain.lifecycle import FINAL

Cursor = tuple[float, str]


async def get(session: Session, dataset_id: str) -> DataSet | None:
    return await session.get(DataSet, dataset_id)


async def named(session: Session, name: str) -> Sequence[DataSet]:
    """The one with this id, else all with this name, newest first."""
    if found := await session.get(DataSet, name):
        return [found]
    return (
        await session.scalars(select(DataSet).where(DataSet.name == name).order_by(DataSet.created_at.desc()))
    ).all()


async def twin(session: Session, hash_sha256: str, name: str) -> DataSet | None:
    """One with the same content and name."""
    query = select(DataSet).where(DataSet.hash_sha256 == hash_sha256, DataSet.name == name)
    return await session.scalar(query.limit(1))


async def add(session: Session, dataset: DataSet) -> None:
    session.add(dataset)
    await session.flush()


async def delete(session: Session, dataset: DataSet) -> None:
    await session.delete(dataset)


async def page(session: Session, before: Cursor | None, limit: int) -> Sequence[DataSet]:
    """Newest first."""
    query = select(DataSet).order_by(DataSet.created_at.desc(), DataSet.id.desc()).limit(limit)
    if before is not None:
        at, id_ = before
        query = query.where(or_(DataSet.created_at < at, (DataSet.created_at == at) & (DataSet.id < id_)))
    return (await session.scalars(query)).all()


async def jobs_of(session: Session, path: str, limit: int) -> Sequence[Job]:
    """Those that name a file, newest first; without the specs."""
    data = Job.resolved_spec["data"]
    is_named = or_(data["train"].as_string() == path, data["eval"].as_string() == path)
    query = select(Job).options(defer(Job.spec, raiseload=True), defer(Job.resolved_spec, raiseload=True))
    query = query.where(is_named, Job.removed_at.is_(None)).order_by(Job.created_at.desc()).limit(limit)
    return (await session.scalars(query)).all()


async def unfinished_jobs(session: Session, path: str) -> Sequence[str]:
    """Ids of the jobs that still need a file; a paused or a queued one does, too."""
    data = Job.resolved_spec["data"]
    query = select(Job.id).where(
        Job.state.not_in([state.value for state in FINAL]),
        or_(data["train"].as_string() == path, data["eval"].as_string() == path),
    )
    return (await session.scalars(query.order_by(Job.created_at))).all()
