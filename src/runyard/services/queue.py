"""What a waiting job is told: its place in line, why it waits, and for how long about."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runyard.db.database import Session
from runyard.db.queries import queue
from runyard.db.tables import Job
from runyard.domain.lifecycle import State
from runyard.domain.placement import Expected, Wait, order, words


@dataclass(frozen=True)
class Standing:
    """`position` is None for one that does not stand in line: it does not wait, or is to wait longer anyhow."""

    position: int | None = None
    cause: str | None = None


async def standings(session: Session, jobs: Iterable[Job], now: float) -> dict[str, Standing]:
    """By job. Places are counted when they are asked for, so that nobody has to write all of them at every change."""
    jobs = list(jobs)
    queued = [job.id for job in jobs if job.state == State.QUEUED]
    places = await queue.places(session, queued, now) if queued else {}
    return {job.id: standing(job, places.get(job.id), now) for job in jobs}


async def ahead(session: Session, priority: str, now: float) -> int:
    """How many wait before a job that would be submitted now."""
    own = order.RANK[priority]
    return sum(length for rank, length in (await queue.lengths(session, now)).items() if rank <= own)


def standing(job: Job, place: int | None, now: float) -> Standing:
    """Of a job whose place is known."""
    if job.state != State.QUEUED:
        return Standing()
    if place is None:
        if job.not_before is None:  # it has left the line since its row was read
            return Standing()
        return Standing(None, f"is tried again in {words.about(job.not_before - now)}")
    expected = None if job.expected_start is None else Expected(job.expected_start, "")
    cause = job.wait_cause or ("waits for those before it" if place > 1 else "is about to be looked at")
    return Standing(place, words.sentence(Wait(job.id, place, cause, expected), now))


@dataclass(frozen=True)
class Passing:
    """What another priority would change in the line; `priority` is None for a job that is held.

    `names` are of the nearest of those that it passes, or that pass it, as far as the asker may know them.
    """

    priority: str | None
    passes: bool
    count: int
    names: Sequence[str]


async def passings(session: Session, job: Job, tenant: str, now: float) -> list[Passing]:
    """For each priority that a waiting job has not, highest first, and for holding it."""
    since = job.queued_at if job.back_at is None else job.back_at
    own = order.rank(job.priority, since, now)
    found = []
    for priority in [*order.RANK, None]:
        if priority == job.priority:
            continue
        rank = None if priority is None else order.rank(priority, since, now)
        passes = rank is not None and rank < own
        who = await queue.between(session, job, (rank, own) if passes else (own, rank), now)
        names = [name for name, of in who.first if of == tenant]
        found.append(Passing(priority, passes, who.count, names))
    return found
