"""Lists of jobs: filtered, sorted, counted; what they are found by is changed here, for one or for many."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from runyard.db.queries import listing as queries
from runyard.db.tables import Job
from runyard.domain.lifecycle import State
from runyard.domain.listing import Filter, Order, Sorting
from runyard.protocol.specs import SPEC_CLASSES
from runyard.protocol.specs.run import Priority
from runyard.schemas.facts import BulkAsk, BulkOutcome, BulkRead, Counts
from runyard.schemas.jobs import JobRead
from runyard.schemas.page import Page
from runyard.server.deps import Cursor, Desk, Limit, ToSee, ToSubmit
from runyard.services import listing, queue
from runyard.services.queue import Standing

router = APIRouter(prefix="/jobs", tags=["jobs"])


async def wanted(
    state: Annotated[list[State] | None, Query(description="Any of these; may be repeated.")] = None,
    user: Annotated[str | None, Query(description="Whose they are.", max_length=100)] = None,
    kind: Annotated[str | None, Query(description=f"One of {', '.join(SPEC_CLASSES)}.")] = None,
    name: Annotated[str | None, Query(description="Any part of the name, in any case.", max_length=100)] = None,
    model: Annotated[
        str | None, Query(description="Any part of the model's name, in any case.", max_length=100)
    ] = None,
    tag: Annotated[str | None, Query(description="A whole tag.", max_length=40)] = None,
    experiment: Annotated[str | None, Query(description="Its whole name.", max_length=100)] = None,
    created_from: Annotated[float | None, Query(description="Seconds since the epoch.", allow_inf_nan=False)] = None,
    created_to: Annotated[float | None, Query(description="Up to, not with.", allow_inf_nan=False)] = None,
    q: Annotated[
        str | None, Query(description="Words, each a part of the name, the model, a tag or the id.", max_length=200)
    ] = None,
    priority: Annotated[Priority | None, Query()] = None,
) -> Filter:
    """What a list is narrowed to."""
    return Filter(state, user, kind, name, model, tag, experiment, created_from, created_to, q, priority)


Wanted = Annotated[Filter, Depends(wanted)]


@router.get("", operation_id="list_jobs")
async def list_(
    desk: ToSee,
    wanted: Wanted,
    sort: Annotated[Order, Query(description="What has no such value comes last.")] = Order.DATE,
    order: Annotated[Literal["asc", "desc"], Query()] = "desc",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[JobRead]:
    """Jobs, newest first unless sorted otherwise. `loss` is the best one that each has."""
    sorting = Sorting(sort, order == "desc")
    async with desk.read(long=wanted != Filter()) as session:
        found, following = await listing.page(session, wanted, cursor, limit, sorting)
    places = await standings(desk, found)
    return Page(items=[read(job, places[job.id], desk.yard.clock()) for job in found], next_cursor=following)


@router.get("/counts", operation_id="count_jobs")
async def count(desk: ToSee, wanted: Wanted) -> Counts:
    """How many jobs a filter lets pass, by state; what it says of states is left aside."""
    async with desk.read(long=True) as session:
        found = await queries.counts(session, replace(wanted, states=None))
    return Counts(total=sum(found.values()), by_state={state: found.get(state, 0) for state in State})


@router.post("/bulk", operation_id="change_jobs")
async def change(desk: ToSubmit, ask: BulkAsk) -> BulkRead:
    """Cancel or tag many at once: each for itself, with what became of it."""
    details = {"action": ask.action, "job_ids": ask.job_ids} | ({"tags": ask.tags} if ask.tags else {})
    async with desk.write(None, details) as session:
        found = await listing.change_all(session, ask.job_ids, ask.action, ask.tags, desk.caller, desk.yard.clock())
    desk.yard.changed()
    return BulkRead(items=[_outcome(one) for one in found])


def _outcome(one: listing.Outcome) -> BulkOutcome:
    if one.refused is not None or one.job is None:
        why = one.refused
        return BulkOutcome(
            job_id=one.job_id, outcome="refused", code=why.code if why else None, detail=why.message if why else None
        )
    outcome: Literal["done", "unchanged"] = "done" if one.changed else "unchanged"
    return BulkOutcome(job_id=one.job_id, outcome=outcome, state=State(one.job.state), tags=one.job.tags)


def read(job: Job, standing: Standing, now: float) -> JobRead:
    """A row as it is shown."""
    found = JobRead.model_validate(job)
    found.queue_position, found.wait_cause = standing.position, standing.cause
    if job.active_since is not None:
        found.duration = (job.duration or 0.0) + max(0.0, now - job.active_since)
    return found


async def standings(desk: Desk, found: Sequence[Job]) -> dict[str, Standing]:
    """For a place, all who stand in line are counted, whosever they are."""
    if not any(job.state == State.QUEUED for job in found):
        return {job.id: Standing() for job in found}
    async with desk.yard.database.read(long=True) as session:
        return await queue.standings(session, found, desk.yard.clock())
