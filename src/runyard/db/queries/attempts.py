"""Attempts, their leases, and writes that only the holder of a lease can make."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, Row, and_, bindparam, func, or_, select, update

from runyard.db.database import Session
from runyard.db.tables import Attempt, Checkpoint, Job
from runyard.domain.lifecycle import State
from runyard.domain.placement import Held, Needs, Start

STOPPING = frozenset({State.PAUSING.value, State.CANCELLING.value})


@dataclass(frozen=True)
class Lease:
    """The data folder of an engine; `token` is new for every engine that was ever started."""

    owner: str
    token: str


@dataclass(frozen=True)
class Beginning:
    """What an engine gives an attempt that it begins."""

    id: str
    executor: str
    lease: Lease


# Built once: to build them takes longer than to execute them, and each is executed for every job.
IS_OPEN = Attempt.ended_at.is_(None)
IS_HELD = and_(Attempt.id == bindparam("held_id"), Attempt.lease_token == bindparam("by_token"), IS_OPEN)
IS_OURS = or_(Attempt.lease_owner.is_(None), Attempt.lease_owner == bindparam("by_owner"))
HELD = select(Attempt).where(IS_HELD)
HELD_WITH_JOB = select(Attempt, Job).join(Job, Job.id == Attempt.job_id).where(IS_HELD)
WITH_JOBS = select(Attempt, Job).join(Job, Job.id == Attempt.job_id).order_by(Attempt.created_at, Attempt.id)
WITHIN_REACH = WITH_JOBS.where(IS_OPEN, IS_OURS)
TAKEN = (
    select(Attempt.job_id, Attempt.machine, Attempt.gpus, Attempt.gpu_memory_mb, Attempt.cpus, Attempt.memory_mb)
    .add_columns(Attempt.number, Attempt.created_at, Attempt.ended_at, Attempt.lease_owner)
    .add_columns(Job.priority, Job.user, Job.tenant, Job.resumable, Job.state, Job.snapshot, Job.estimated_seconds)
    .join(Job, Job.id == Attempt.job_id)
    .where(Attempt.released_at.is_(None))
)


def begin(session: Session, job: Job, beginning: Beginning, start: Start, at: float) -> Attempt:
    """The next try of a job, written with the session's next flush: the intent, before anything is started."""
    job.attempts += 1
    attempt = Attempt(
        id=beginning.id,
        job_id=job.id,
        number=job.attempts,
        executor=beginning.executor,
        lease_owner=beginning.lease.owner,
        lease_token=beginning.lease.token,
        machine=start.machine,
        gpus=list(start.gpus),
        gpu_memory_mb=job.gpu_memory_mb if start.gpus else None,
        cpus=job.cpus,
        memory_mb=job.memory_mb,
        created_at=at,
    )
    session.add(attempt)
    return attempt


async def of_job(session: Session, job_id: str) -> Sequence[Attempt]:
    return (await session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number))).all()


async def came_to(session: Session, job_id: str) -> list[tuple[int, int]]:
    """The step of its newest checkpoint and the step it came to, of each try of a job, oldest first."""
    is_its = (Checkpoint.job_id == Attempt.job_id, Checkpoint.attempt == Attempt.number)
    saved = select(func.max(Checkpoint.step)).where(*is_its).scalar_subquery()
    query = select(saved, Attempt.signs).where(Attempt.job_id == job_id).order_by(Attempt.number)
    return [(step or 0, (signs or {}).get("step", 0)) for step, signs in await session.execute(query)]


async def taken(session: Session, machine: str, owner: str) -> list[Held]:
    """What attempts hold that were not released yet; those of our data folder are on this machine, whatever its name
    was when they began."""
    rows = await session.execute(TAKEN)
    return [
        Held(
            row.job_id,
            machine if row.lease_owner in (None, owner) else row.machine or "",
            tuple(row.gpus),
            Needs(len(row.gpus), row.gpu_memory_mb, row.cpus, row.memory_mb),
            row.priority,
            row.user,
            row.created_at,
            expected_end(row),
            row.resumable,
            row.ended_at is not None or row.state in STOPPING,
            row.tenant,
        )
        for row in rows
    ]


class Stay(NamedTuple):
    """A try with what tells whose it is, and how far: `attempts` counts all of its job."""

    job_id: str
    number: int
    machine: str | None
    gpus: list[int]
    created_at: float
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    reason: str | None
    name: str
    state: str
    attempts: int
    snapshot: dict[str, Any] | None
    estimated_seconds: float | None


async def since(session: Session, at: float) -> list[Stay]:
    """Tries that are under way or have ended since then."""
    own = (getattr(Attempt, name) for name in Stay._fields[:9])
    of_job = (getattr(Job, name) for name in Stay._fields[9:])
    query = select(*own, *of_job).join(Job, Job.id == Attempt.job_id)
    query = query.where(or_(IS_OPEN, Attempt.ended_at > at), Job.removed_at.is_(None)).order_by(Attempt.created_at)
    return [Stay(*row) for row in await session.execute(query)]


def expected_end(row: Row[Any] | Stay) -> float | None:
    """By the trainer's own pace; before it has one, by what jobs like it took."""
    snapshot = row.snapshot or {}
    if snapshot.get("attempt") == row.number and snapshot.get("eta_seconds") is not None:
        return float(snapshot["at"] + snapshot["eta_seconds"])
    return None if row.estimated_seconds is None else float(row.created_at + row.estimated_seconds)


async def under_way(session: Session, token: str) -> list[tuple[Attempt, Job]]:
    """Attempts that the holder of the token looks after, oldest first."""
    rows = await session.execute(WITH_JOBS.where(IS_OPEN, Attempt.lease_token == token))
    return [(attempt, job) for attempt, job in rows]


async def within_reach(session: Session, owner: str) -> list[tuple[Attempt, Job]]:
    """Open attempts of our data folder, and nobody's, whoever looks after them; oldest first."""
    rows = await session.execute(WITHIN_REACH, {"by_owner": owner})
    return [(attempt, job) for attempt, job in rows]


async def to_claim(session: Session, lease: Lease) -> Sequence[str]:
    """Ids of open attempts to take over: those of our data folder, and nobody's, that an earlier engine looked after.

    Only the leading engine asks, so there is nobody to wait for.
    """
    query = select(Attempt.id).where(
        Attempt.ended_at.is_(None),
        or_(Attempt.lease_owner.is_(None), Attempt.lease_owner == lease.owner),
        or_(Attempt.lease_token.is_(None), Attempt.lease_token != lease.token),
    )
    return (await session.scalars(query)).all()


async def elsewhere(session: Session, owner: str) -> Sequence[Attempt]:
    """Open attempts of other data folders."""
    return (
        await session.scalars(select(Attempt).where(Attempt.ended_at.is_(None), Attempt.lease_owner != owner))
    ).all()


async def unreleased(session: Session, owner: str) -> Sequence[Attempt]:
    """Attempts of a data folder that hold GPUs, those that have ended among them."""
    query = select(Attempt).where(Attempt.released_at.is_(None), Attempt.lease_owner == owner)
    return [attempt for attempt in await session.scalars(query) if attempt.gpus]


async def known(session: Session, attempt_ids: Collection[str]) -> set[str]:
    """Those that are attempts of this database."""
    if not attempt_ids:
        return set()
    return set(await session.scalars(select(Attempt.id).where(Attempt.id.in_(attempt_ids))))


async def ended(session: Session, attempt_ids: Collection[str]) -> Sequence[Attempt]:
    """Those that are attempts of this database and have ended."""
    query = select(Attempt).where(Attempt.id.in_(attempt_ids), Attempt.ended_at.is_not(None))
    return (await session.scalars(query)).all()


async def release(session: Session, attempt_id: str, at: float) -> bool:
    """From now on it holds nothing; False if somebody else has seen to it."""
    attempt = await session.get(Attempt, attempt_id)
    if attempt is None or attempt.released_at is not None:
        return False
    attempt.released_at = at
    return True


async def claim(session: Session, ids: Sequence[str], lease: Lease) -> None:
    values = {"lease_owner": lease.owner, "lease_token": lease.token}
    await session.execute(update(Attempt).where(Attempt.id.in_(ids)).values(values))


async def held(session: Session, attempt_id: str, token: str) -> Attempt | None:
    """The attempt, if the token still holds it and it is under way; otherwise nothing may be written for it."""
    return await session.scalar(HELD, {"held_id": attempt_id, "by_token": token})


async def held_with_job(session: Session, attempt_id: str, token: str) -> tuple[Attempt, Job] | None:
    """Like `held`, with its job."""
    row = (await session.execute(HELD_WITH_JOB, {"held_id": attempt_id, "by_token": token})).first()
    return None if row is None else (row[0], row[1])


async def save(session: Session, attempt_id: str, token: str, **values: Any) -> bool:
    """Set columns of an attempt; False, and nothing written, if somebody else took it over."""
    query = update(Attempt).where(IS_HELD).values(values).execution_options(synchronize_session=False)
    held = {"held_id": attempt_id, "by_token": token}
    result: CursorResult[Any] = await session.execute(query, held)  # type: ignore[assignment]
    return result.rowcount == 1
