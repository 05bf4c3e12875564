"""Lists of jobs, and changing what they are found by."""

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

from runyard.domain.lifecycle import State
from runyard.schemas.facts import BulkRead, Counts
from runyard.schemas.jobs import JobDetail, JobRead
from runyard.schemas.page import Page
from runyard.sdk.calls import API, Call, get, given, job_path, parser

JOBS = f"{API}/jobs"


class Narrowed(TypedDict, total=False):
    """To which jobs: `name` and `model` are any part of one, `q` words that each are a part of the name, the model, a
    tag or the id; times are seconds since the epoch."""

    user: str | None
    kind: str | None
    name: str | None
    model: str | None
    tag: str | None
    experiment: str | None
    created_from: float | None
    created_to: float | None
    q: str | None
    priority: str | None


def jobs(
    *,
    state: Sequence[State | str] = (),
    sort: Literal["date", "duration", "loss", "throughput"] = "date",
    order: Literal["asc", "desc"] = "desc",
    cursor: str | None = None,
    limit: int = 50,
    **narrowed: Unpack[Narrowed],
) -> Call[Page[JobRead]]:
    """One page, newest first unless sorted otherwise."""
    sorting = given(sort=None if sort == "date" else sort, order=None if order == "desc" else order)
    states = given(state=[str(s) for s in state])
    return get(JOBS, Page[JobRead], {**states, **given(**narrowed), **sorting, **given(cursor=cursor, limit=limit)})


def count_jobs(**narrowed: Unpack[Narrowed]) -> Call[Counts]:
    """How many there are of each state."""
    return get(f"{JOBS}/counts", Counts, given(**narrowed))


def change_job(job_id: str, *, tags: Sequence[str] | None = None, priority: str | None = None) -> Call[JobDetail]:
    """Give a job other tags (all that it has from now on), or another priority."""
    body = {"tags": None if tags is None else list(tags), "priority": priority}
    return Call("PATCH", job_path(job_id), parser(JobDetail), body={k: v for k, v in body.items() if v is not None})


def change_jobs(
    job_ids: Sequence[str], action: Literal["cancel", "add_tags", "remove_tags"], tags: Sequence[str] = ()
) -> Call[BulkRead]:
    """Cancel or tag up to 200 jobs: each for itself, with what became of it."""
    body = {"job_ids": list(job_ids), "action": action} | ({"tags": list(tags)} if tags else {})
    return Call("POST", f"{JOBS}/bulk", parser(BulkRead), body=body)
