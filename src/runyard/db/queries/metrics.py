"""Metric points: one row a job, split and step."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select

from runyard.db.database import Session
from runyard.db.tables import Metric, Table

Key = tuple[str, int]
METRICS = Table.metadata.tables[Metric.__tablename__]


class Point(NamedTuple):
    """A row as it was read: curves are long."""

    step: int
    split: str
    at: float
    values: dict[str, float | None]


class Change(NamedTuple):
    """The values of a point before and after it was written."""

    split: str
    step: int
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]


NOTHING: Mapping[str, float | None] = MappingProxyType({})


async def record(session: Session, job_id: str, points: Mapping[Key, dict[str, Any]]) -> list[Change]:
    """Write points by (split, step); each has `attempt`, `at` and `values`.

    Values join those that the same attempt has reported for the step, and replace those of an earlier one.
    """
    if not points:
        return []
    steps = [step for _, step in points]
    query = select(Metric).where(Metric.job_id == job_id, Metric.step.between(min(steps), max(steps)))
    known = {(row.split, row.step): row for row in await session.scalars(query)}
    new, changes = [], []
    for (split, step), point in points.items():
        before = NOTHING
        if row := known.get((split, step)):
            before = row.values
            earlier = row.values if row.attempt == point["attempt"] else {}
            row.attempt, row.at, row.values = point["attempt"], point["at"], earlier | point["values"]
        else:
            new.append({"job_id": job_id, "split": split, "step": step, **point})
        changes.append(Change(split, step, before, row.values if row else point["values"]))
    if new:
        await session.execute(insert(METRICS), new)
    return changes


async def forget_after(session: Session, job_id: str, step: int) -> None:
    """Drop points that a resumed attempt will make again."""
    await session.execute(delete(Metric).where(Metric.job_id == job_id, Metric.step > step))


async def of_job(
    session: Session, job_id: str, *, split: str | None = None, after_step: int = -1, limit: int | None = None
) -> list[Point]:
    columns = (getattr(Metric, name) for name in Point._fields)
    query = select(*columns).where(Metric.job_id == job_id, Metric.step > after_step)
    if split is not None:
        query = query.where(Metric.split == split)
    return [Point(*row) for row in await session.execute(query.order_by(Metric.step, Metric.split).limit(limit))]
