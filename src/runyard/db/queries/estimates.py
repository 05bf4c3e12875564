"""How long jobs took, and how long those that wait will take."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from runyard.db.database import Session
from runyard.db.tables import Attempt, Job
from runyard.domain import estimates
from runyard.domain.estimates import REMEMBERED, Past
from runyard.domain.lifecycle import State

_newest = (
    select(Job.id, Job.work)
    .where(Job.workload == bindparam("of_workload"), Job.state == State.COMPLETED.value)
    .order_by(Job.finished_at.desc())
    .limit(REMEMBERED)
    .subquery()
)
_ran = func.sum(Attempt.ended_at - Attempt.started_at)
FINISHED = (
    select(_newest.c.work, _ran).join(Attempt, Attempt.job_id == _newest.c.id).group_by(_newest.c.id, _newest.c.work)
)


async def finished(session: Session, workload: str) -> list[Past]:
    """The newest completed jobs of a kind of work; the time in which they were paused or waited does not count."""
    rows = await session.execute(FINISHED, {"of_workload": workload})
    return [Past(work, seconds) for work, seconds in rows if work is not None and seconds is not None]


async def pace(session: Session, workload: str) -> float | None:
    """Seconds that a unit of a kind of work takes, from finished jobs."""
    return estimates.seconds(1.0, await finished(session, workload))


async def of_job(session: Session, job: Job, paces: dict[str, float | None] | None = None) -> float | None:
    """Seconds for a new job, from finished ones like it; `paces` remembers what was looked up for others."""
    if job.workload is None or job.work is None:
        return None
    paces = {} if paces is None else paces
    if job.workload not in paces:
        paces[job.workload] = await pace(session, job.workload)
    unit = paces[job.workload]
    return None if unit is None else job.work * unit


async def like(session: Session, job: Job, most: int) -> Sequence[Job]:
    """The newest jobs of the same kind of work that were completed."""
    if job.workload is None:
        return []
    query = select(Job).where(Job.workload == job.workload, Job.state == State.COMPLETED.value)
    return (await session.scalars(query.order_by(Job.finished_at.desc()).limit(most))).all()


async def renew(session: Session, job: Job) -> None:
    """A job has completed: those like it that wait are estimated anew."""
    if job.workload is None:
        return
    unit = await pace(session, job.workload)
    if unit is not None:
        await session.execute(
            update(Job)
            .where(Job.workload == job.workload, Job.state == State.QUEUED.value)
            .values(estimated_seconds=Job.work * unit)
        )
