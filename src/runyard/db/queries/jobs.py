"""Jobs: the rows, the one place where their state changes, and the queue."""

from collections.abc import Sequence

from sqlalchemy import select, update

from runyard.db.database import Session
from runyard.db.queries import events
from runyard.db.tables import Job, Move
from runyard.domain.lifecycle import FINAL, Cause, State, move
from runyard.domain.placement import Wait, Waiting


async def get(session: Session, job_id: str) -> Job | None:
    return await session.get(Job, job_id)


async def apply_move(  # noqa: PLR0913 - all that history keeps of a move
    session: Session,
    job: Job,
    cause: Cause,
    actor: str,
    at: float,
    *,
    attempt: int | None = None,
    reason: str | None = None,
    message: str | None = None,
) -> bool:
    """Move a job as the lifecycle allows; False if the cause has already had its effect.

    `actor` is who asked or what saw it. Raises IllegalMoveError.
    """
    before = State(job.state)
    after = move(before, cause)
    if after == before:
        return False
    _enter(job, after, cause, at)
    job.reason, job.message = reason, message
    session.add(
        Move(job_id=job.id, attempt=attempt, at=at, before=before, after=after, cause=cause, actor=actor),
    )
    data = {
        "before": before.value,
        "after": after.value,
        "cause": cause.value,
        "actor": actor,
        "reason": reason,
        "message": message,
        "attempt": attempt,
    }
    await events.append(session, job.id, at, "state", data)
    return True


def _enter(job: Job, state: State, cause: Cause, at: float) -> None:
    job.state = state.value
    job.updated_at = at
    job.queue_position = job.wait_cause = None
    job.finished_at = at if state in FINAL else None
    if state == State.RUNNING and job.started_at is None:
        job.started_at = at
    if state == State.QUEUED and cause != Cause.STOPPED:  # a job that was stopped by the machine keeps its place
        job.queued_at = at


async def waiting(session: Session) -> list[tuple[Waiting, Wait]]:
    """The queue, each job with the place and cause that its row shows now."""
    columns = (Job.id, Job.priority, Job.queued_at, Job.gpus, Job.queue_position, Job.wait_cause)
    rows = await session.execute(select(*columns).where(Job.state == State.QUEUED.value))
    return [
        (Waiting(id_, priority, queued_at, gpus), Wait(id_, position or 0, cause or ""))
        for id_, priority, queued_at, gpus, position, cause in rows
    ]


async def show_waits(session: Session, waits: Sequence[Wait], at: float) -> None:
    """Write places in line and causes to the rows, and tell the feed."""
    if not waits:
        return
    rows = [{"id": wait.job_id, "queue_position": wait.position, "wait_cause": wait.cause} for wait in waits]
    await session.execute(update(Job), rows)
    await events.append_all(
        session,
        [
            {
                "job_id": wait.job_id,
                "at": at,
                "type": "queue",
                "data": {"position": wait.position, "wait_cause": wait.cause},
            }
            for wait in waits
        ],
    )
