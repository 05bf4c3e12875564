"""Lists of jobs, and changing what they are found by, one or many at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.db.database import Session
from runyard.db.queries import events
from runyard.db.queries import jobs as job_queries
from runyard.db.queries import listing as queries
from runyard.db.tables import Job
from runyard.domain.access import Caller
from runyard.domain.errors import InvalidError, NotReadyError, RunyardError
from runyard.domain.lifecycle import FINAL, Cause
from runyard.domain.listing import Filter, Mark, Order, Sorting, cursor, parse_cursor
from runyard.protocol.problems import Problem
from runyard.protocol.specs.run import MOST_TAGS
from runyard.services import jobs

KEYS = {Order.LOSS: "best_value", Order.THROUGHPUT: "throughput", Order.DURATION: "duration"}
NEWEST = Sorting()


async def page(
    session: Session, wanted: Filter, after: str | None, limit: int, sorting: Sorting = NEWEST
) -> tuple[Sequence[Job], str | None]:
    """One page of jobs and the cursor of the next. Raises InvalidError for a cursor that this order did not give."""
    found = await queries.page(session, wanted, sorting, _mark(after, sorting.order), limit + 1)
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    value = getattr(last, KEYS[sorting.order]) if sorting.order in KEYS else None
    return found[:limit], cursor(Mark(value, last.created_at, last.id), sorting.order)


async def cursor_after(session: Session, wanted: Filter, number: int) -> str | None:
    """The cursor of what follows so many jobs, newest first; None where there are none, or not so many."""
    found = await queries.mark(session, wanted, number) if number else None
    return cursor(found, Order.DATE) if found else None


def _mark(after: str | None, order: Order) -> Mark | None:
    try:
        return None if after is None else parse_cursor(after, order)
    except (ValueError, OverflowError):
        problem = Problem(field="cursor", message="must be the next_cursor of the page before, in the same order")
        raise InvalidError("the cursor is not one of this server", problems=[problem]) from None


@dataclass(frozen=True)
class Change:
    """What a job is to have from now on; None leaves it as it is."""

    tags: Sequence[str] | None = None
    priority: str | None = None


async def change(session: Session, job_id: str, wanted: Change, caller: Caller, at: float) -> bool:
    """False if it was so already. Raises NotFoundError, ForbiddenError, NotReadyError and InvalidError."""
    job = await jobs.to_change(session, job_id, caller)
    changes = {name: value for name, value in vars(wanted).items() if value is not None and value != getattr(job, name)}
    if not changes:
        return False
    if "priority" in changes and job.state in FINAL:
        raise NotReadyError(f"job {job.id} is {job.state}: its priority means nothing any more")
    if len(changes.get("tags", ())) > MOST_TAGS:
        raise InvalidError(f"job {job.id} would have {len(changes['tags'])} tags, {MOST_TAGS} is the most")
    for name, value in changes.items():
        setattr(job, name, value)
    if "tags" in changes:
        job_queries.index(job)
    job.updated_at = at
    await events.append(session, job.id, at, "changed", changes | {"actor": caller.user})
    return True


@dataclass(frozen=True)
class Outcome:
    """What became of one of many: `refused` is why nothing was done."""

    job_id: str
    changed: bool = False
    job: Job | None = None
    refused: RunyardError | None = None


async def change_all(
    session: Session, job_ids: Sequence[str], action: str, tags: Sequence[str], caller: Caller, at: float
) -> list[Outcome]:
    """`cancel`, `add_tags` or `remove_tags`: each for itself, in the order they were named."""
    found = []
    for job_id in dict.fromkeys(job_ids):
        try:
            job = await jobs.to_change(session, job_id, caller)
            if action == "cancel":
                changed = await job_queries.apply_move(session, job, Cause.CANCEL_ASKED, caller.user, at)
            else:
                changed = await change(session, job_id, Change(_tags(job, action, tags)), caller, at)
            found.append(Outcome(job_id, changed, job))
        except RunyardError as refusal:
            found.append(Outcome(job_id, refused=refusal))
    return found


def _tags(job: Job, action: str, tags: Sequence[str]) -> list[str]:
    if action == "add_tags":
        return list(dict.fromkeys([*job.tags, *tags]))
    return [tag for tag in job.tags if tag not in tags]
