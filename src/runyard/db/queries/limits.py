"""How much tenants and users may have, and how much they do."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Double, Select, bindparam, func, select
from sqlalchemy import cast as as_type
from sqlalchemy.orm import InstrumentedAttribute

from runyard.db.database import Session
from runyard.db.tables import Artifact, Attempt, Checkpoint, DataSet, Job, Limit
from runyard.domain.lifecycle import State
from runyard.domain.quotas import By

# Built once: they are asked for with every look at the line and every group of submissions.
ALL = select(Limit.tenant, Limit.of, Limit.quota, Limit.amount).order_by(Limit.tenant, Limit.of, Limit.quota)
WAITING = {
    by: select(column, func.count())
    .where(Job.state == State.QUEUED.value, column.in_(bindparam("names", expanding=True)))
    .group_by(column)
    for by, column in (("user", Job.user), ("tenant", Job.tenant))
}


class Set(NamedTuple):
    """How much somebody may have of something."""

    tenant: str
    of: str
    quota: str
    amount: float


async def all_(session: Session) -> list[Set]:
    return [Set(*row) for row in await session.execute(ALL)]


async def put(session: Session, limit: Limit) -> None:
    await session.merge(limit)


async def remove(session: Session, tenant: str, of: str, quota: str) -> None:
    if found := await session.get(Limit, (tenant, of, quota)):
        await session.delete(found)


async def waiting(session: Session, by: By, names: Collection[str]) -> dict[str, int]:
    """Jobs in the queue."""
    return {name: count for name, count in await session.execute(WAITING[by], {"names": list(names)})}


async def held(session: Session, by: By, name: str) -> list[int]:
    """For each attempt that still holds something its number of GPUs."""
    query = select(Attempt.gpus).join(Job, Job.id == Attempt.job_id)
    rows = await session.scalars(query.where(Attempt.released_at.is_(None), getattr(Job, by) == name))
    return [len(gpus) for gpus in rows]


async def held_by_user(session: Session, tenant: str) -> dict[str, list[int]]:
    """The same for each user of a tenant."""
    query = select(Job.user, Attempt.gpus).join(Job, Job.id == Attempt.job_id)
    found: dict[str, list[int]] = {}
    for user, gpus in await session.execute(query.where(Attempt.released_at.is_(None), Job.tenant == tenant)):
        found.setdefault(user, []).append(len(gpus))
    return found


async def gpu_seconds(
    session: Session, since: float, now: float, tenant: str | None = None, user: str | None = None
) -> dict[tuple[str, str], float]:
    """GPUs times the seconds for which attempts held them since a time, by tenant and user; of all, or some."""
    query = (
        select(Job.tenant, Job.user, Attempt.gpus, Attempt.created_at, func.coalesce(Attempt.released_at, now))
        .join(Job, Job.id == Attempt.job_id)
        .where((Attempt.released_at.is_(None)) | (Attempt.released_at > since))
    )
    if tenant is not None:
        query = query.where(Job.tenant == tenant)
    if user is not None:
        query = query.where(Job.user == user)
    found: dict[tuple[str, str], float] = {}
    for tenant_, user_, gpus, began, ended in await session.execute(query):
        held = len(gpus) * max(0.0, ended - max(began, since))
        found[tenant_, user_] = found.get((tenant_, user_), 0.0) + held
    return found


async def stored_bytes(session: Session, by: By, name: str) -> int:
    """Of data sets, and of what jobs have left."""
    sums = [query.where((owner.user if by == "user" else owner.tenant) == name) for query, owner in _stored()]
    return int(sum([await session.scalar(query) or 0 for query in sums]))


async def stored_by_user(session: Session, tenant: str) -> dict[str, int]:
    """The same for each user of a tenant."""
    found: dict[str, int] = {}
    for query, owner in _stored():
        grouped = query.add_columns(owner.user).where(owner.tenant == tenant).group_by(owner.user)
        for size, user in await session.execute(grouped):
            found[user] = found.get(user, 0) + int(size)
    return found


def _stored() -> Iterator[tuple[Select[Any], type[DataSet] | type[Job]]]:
    """Sums of bytes, each with the table that says whose they are."""
    yield select(_sum(DataSet.size_bytes)), DataSet
    yield select(_sum(Artifact.size_bytes)).join(Job, Job.id == Artifact.job_id), Job
    saved = select(_sum(Checkpoint.size_bytes)).join(Job, Job.id == Checkpoint.job_id)
    yield saved.where(Checkpoint.removed_at.is_(None)), Job


def _sum(column: InstrumentedAttribute[int]) -> ColumnElement[float]:
    return func.coalesce(func.sum(as_type(column, Double)), 0.0)
