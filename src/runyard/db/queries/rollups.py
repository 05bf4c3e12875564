"""What a job's events come to: one row, kept up to date in the transaction that writes the events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update

from runyard.db.database import Session
from runyard.db.queries import series
from runyard.db.queries.metrics import Change
from runyard.db.tables import FeedEvent, Job, Metric, Rollup
from runyard.domain import rollups

HEARD = ("phase", "progress", "metric", "finished", "checkpoint", "resumed", "message", "artifact")


async def of_job(session: Session, job_id: str) -> rollups.Rollup | None:
    """None for a job that has said nothing, or whose rollup is still to be made."""
    content = await session.scalar(CONTENT, {"of_job": job_id})
    return None if content is None else rollups.Rollup.restored(content)


@dataclass
class Count:
    """A job's rollup while more is added to it; `kept` says whether it has a row yet."""

    job: Job
    rollup: rollups.Rollup
    kept: bool = False

    def of(self, job: Job) -> "Count":
        """The same for the job as another session has it."""
        self.job = job
        return self


# Built once: to build them takes longer than to execute them, and each is executed for every few lines of a trainer.
CONTENT = select(Rollup.content).where(Rollup.job_id == bindparam("of_job"))
CHANGE = update(Rollup).where(Rollup.job_id == bindparam("of_job")).values(content=bindparam("new"))
CHANGE = CHANGE.execution_options(synchronize_session=False)


async def begin(session: Session, job: Job) -> Count:
    """As it was before the next events; that of a job of an earlier version is made first."""
    content = await session.scalar(CONTENT, {"of_job": job.id})
    if content is not None:
        return Count(job, rollups.Rollup.restored(content), kept=True)
    found = Count(job, await gather(session, job.id) if job.events_offset else rollups.Rollup())
    if job.events_offset:
        await _save(session, found)
    return found


async def forget_after(session: Session, count: Count, step: int) -> None:
    """After `metrics.forget_after`."""
    await series.forget_after(session, count.job.id, count.rollup, step)


async def take(session: Session, count: Count, feed: Sequence[dict[str, Any]], points: Sequence[Change]) -> None:
    """Add events, and the points that `metrics.record` has written."""
    job, rollup = count.job, count.rollup
    for event in feed:
        rollup.hear(event["type"], event["at"], event["data"])
    are_new = [rollup.take(point.split, point.step, point.before, point.after) for point in points]
    await _keep_up(session, job.id, rollup, points)
    if not all(are_new):
        await series.recount(session, job.id, rollup)
    await _save(session, count)
    if feed and rollup.is_due((event["type"] for event in feed), feed[-1]["at"]):
        show(job, rollup)


async def _keep_up(session: Session, job_id: str, rollup: rollups.Rollup, points: Sequence[Change]) -> None:
    late: dict[str, set[int]] = {}
    for split, step, before, _ in points:
        if step <= rollup.sealed.get(split, -1):
            late.setdefault(split, set()).add(step)
        elif not before:
            rollup.loose[split] = rollup.loose.get(split, 0) + 1
    for split, steps in late.items():
        await series.mend(session, job_id, split, steps)
    await series.seal(session, job_id, rollup)


async def _save(session: Session, count: Count) -> None:
    content = count.rollup.content()
    if count.kept:
        await session.execute(CHANGE, {"of_job": count.job.id, "new": content})
    else:
        await session.execute(insert(Rollup), [{"job_id": count.job.id, "content": content}])
        count.kept = True


def show(job: Job, rollup: rollups.Rollup) -> None:
    """In lists."""
    for name, value in rollups.facts(rollup).items():
        setattr(job, name, value)


async def settle(session: Session, job: Job) -> None:
    """An attempt has ended: lists show what it has come to."""
    if (rollup := await of_job(session, job.id)) is not None:
        show(job, rollup)


async def gather(session: Session, job_id: str) -> rollups.Rollup:
    """All anew, from the events and points that are there: takes long where there are many."""
    rollup = rollups.Rollup()
    about = FeedEvent.data
    heard = select(FeedEvent.type, FeedEvent.at, about["attempt"].as_integer(), about["phase"].as_string())
    heard = heard.where(FeedEvent.job_id == job_id, FeedEvent.type.in_(HEARD)).order_by(FeedEvent.id)
    for type_, at, attempt, phase in await session.execute(heard):
        if attempt is not None:
            rollup.hear(type_, at, {"attempt": attempt, "phase": phase})
    counts = select(Metric.split, func.count()).where(Metric.job_id == job_id).group_by(Metric.split)
    rollup.loose = {split: number for split, number in await session.execute(counts)}
    await series.seal(session, job_id, rollup)
    await series.recount(session, job_id, rollup)
    return rollup


async def missing(session: Session, limit: int) -> Sequence[str]:
    """Jobs that have said something, and have no rollup."""
    query = select(Job.id).outerjoin(Rollup, Rollup.job_id == Job.id)
    query = query.where(Rollup.job_id.is_(None), Job.events_offset > 0, Job.removed_at.is_(None))
    return (await session.scalars(query.order_by(Job.created_at.desc()).limit(limit))).all()
