"""What the removal of old things has to know, and to write down."""

import asyncio
import re
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Text, cast, delete, func, or_, select, tuple_

from runyard.db.database import Session
from runyard.db.tables import Attempt, Checkpoint, Cleanup, FeedEvent, Job, Metric, Series
from runyard.domain.lifecycle import FINAL
from runyard.domain.retention import Ended, Item

IS_FINAL = Job.state.in_([state.value for state in FINAL])
HAS_LOST_LOGS = IS_FINAL & (Job.logs_removed_at >= Job.finished_at)
HAS_LOST_STEP = IS_FINAL & (Checkpoint.removed_at >= Job.finished_at)
PIECE = 5000
BLOCKS = 200
"""Of curves: each is as large as many points."""
PART = 200
ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
LETTERS = frozenset(b"-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
SPACED = bytes(byte if byte in LETTERS else ord(" ") for byte in range(256))


async def ended(session: Session, before: float) -> list[Ended]:
    """Jobs that ended before a time, and what is left of them."""
    columns = (Job.id, Job.name, Job.state, Job.finished_at, Job.kept, Job.logs_removed_at)
    query = select(*columns).where(IS_FINAL, Job.finished_at < before, Job.removed_at.is_(None))
    rows = (await session.execute(query.order_by(Job.finished_at, Job.id))).all()
    left: dict[str, list[tuple[int, bool]]] = {}
    steps = select(Checkpoint.job_id, Checkpoint.step, Checkpoint.best).join(Job, Job.id == Checkpoint.job_id)
    steps = steps.where(IS_FINAL, Job.finished_at < before, Job.removed_at.is_(None), Checkpoint.removed_at.is_(None))
    for job_id, step, best in await session.execute(steps):
        left.setdefault(job_id, []).append((step, best))
    return [
        Ended(
            *(id_, name, state, at or 0.0, kept),
            has_logs=logs is None or logs < (at or 0.0),
            checkpoints=tuple(step for step, _ in left.get(id_, ())),
            best=next((step for step, best in left.get(id_, ()) if best), None),
        )
        for id_, name, state, at, kept, logs in rows
    ]


async def holders(session: Session, among: set[str]) -> list[tuple[str, set[str]]]:
    """Which of some jobs are named by one that has not ended or is to be kept, with the reason why they must stay."""
    return await _naming(session, or_(~IS_FINAL, Job.kept) & Job.removed_at.is_(None), among)


async def named_by(session: Session, job_ids: Collection[str], among: set[str]) -> list[tuple[str, set[str]]]:
    """The same for what certain jobs name."""
    return await _naming(session, Job.id.in_(job_ids), among)


def named(text: str, among: set[str]) -> set[str]:
    """Which of some jobs the JSON of a spec names, be it as a part of a path."""
    plain = ESCAPED.sub(" ", text) if "\\" in text else text
    # Ten thousand specs are looked through at once: no way to find the words is faster.
    return among.intersection(plain.encode().translate(SPACED).decode().split())


async def oldest_attempt(session: Session) -> float | None:
    """When the oldest of the attempts under way was made."""
    found: float | None = await session.scalar(select(func.min(Attempt.created_at)).where(Attempt.ended_at.is_(None)))
    return found


async def removed_jobs(session: Session) -> Sequence[Job]:
    """Of which only rows, and perhaps files, are left."""
    return (await session.scalars(select(Job).where(Job.removed_at.is_not(None)))).all()


async def without_logs(session: Session, since: float) -> Sequence[Job]:
    """Ended jobs whose logs were to go at or after a time."""
    return (await session.scalars(select(Job).where(HAS_LOST_LOGS, Job.logs_removed_at >= since))).all()


async def thinned(session: Session, since: float) -> Sequence[Checkpoint]:
    """Checkpoints of ended jobs that were to go at or after a time."""
    query = select(Checkpoint).join(Job, Job.id == Checkpoint.job_id)
    return (await session.scalars(query.where(HAS_LOST_STEP, Checkpoint.removed_at >= since))).all()


async def is_still_to_go(session: Session, item: Item) -> bool:
    """Not once its job was retried, which writes under the same names. Whole jobs and the cache are not wanted back."""
    if item.what == "logs":
        query = select(Job.id).where(HAS_LOST_LOGS, Job.id == item.job_id)
    elif item.what == "checkpoint":
        query = select(Job.id).join(Checkpoint, Checkpoint.job_id == Job.id)
        query = query.where(HAS_LOST_STEP, Job.id == item.job_id, Checkpoint.step == item.step)
    else:
        return True
    return await session.scalar(query) is not None


async def forget_piece(session: Session, job_id: str) -> bool:
    """Delete some of a removed job's rows, the job's own last; False when nothing is left.

    Millions of rows in one transaction would keep every other writer waiting.
    """
    keys = select(Metric.job_id, Metric.split, Metric.step).where(Metric.job_id == job_id).limit(PIECE)
    points = delete(Metric).where(tuple_(Metric.job_id, Metric.split, Metric.step).in_(keys))
    block = (Series.job_id, Series.split, Series.name, Series.first_step)
    blocks = delete(Series).where(tuple_(*block).in_(select(*block).where(Series.job_id == job_id).limit(BLOCKS)))
    entries = select(FeedEvent.id).where(FeedEvent.job_id == job_id).limit(PIECE)
    for statement in (points, blocks, delete(FeedEvent).where(FeedEvent.id.in_(entries))):
        if (await session.execute(statement.returning(1))).first() is not None:
            return True
    await session.execute(delete(Job).where(Job.id == job_id))
    return False


async def cleanup(session: Session) -> Cleanup:
    """The row about it, made if there is none."""
    return await session.get(Cleanup, "all") or await _new(session)


async def last_cleanup(session: Session) -> Cleanup | None:
    return await session.get(Cleanup, "all")


async def _new(session: Session) -> Cleanup:
    row = Cleanup(name="all", removed=0, freed_bytes=0)
    session.add(row)
    await session.flush()
    return row


async def _naming(session: Session, which: ColumnElement[bool], among: set[str]) -> list[tuple[str, set[str]]]:
    columns = (Job.id, Job.state, Job.kept, Job.parent_id, cast(Job.resolved_spec, Text))
    rows = await session.stream(select(*columns).where(which).execution_options(yield_per=PART))
    found = []
    async for part in rows.partitions():
        for id_, state, kept, parent_id, spec in part:
            if needed := (named(spec, among) | ({parent_id or ""} & among)) - {id_}:
                found.append((f"the {'kept' if kept else state} job {id_} needs it", needed))
        await asyncio.sleep(0)  # there may be ten thousand in the queue: requests are answered in between
    return found
