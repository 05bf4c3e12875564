"""Jobs: submit, list, show, and ask them to move."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response

from runyard.db.queries.jobs import Filter
from runyard.db.tables import Job
from runyard.domain.advice import Advice
from runyard.domain.errors import InvalidError
from runyard.domain.lifecycle import Cause, State
from runyard.protocol.specs import SPEC_CLASSES, JobSpec
from runyard.schemas.jobs import AdviceRead, AttemptRead, ChangeRead, JobDetail, JobRead, MoveRead, Retry
from runyard.schemas.page import Page
from runyard.schemas.retention import KeepAsk
from runyard.server.api import failing
from runyard.server.deps import ACTOR, Cursor, Limit, Yard, YardDep, new_id
from runyard.services import datasets, fixes, inputs, jobs, queue, retention, sources, submissions
from runyard.services.jobs import History
from runyard.services.queue import Standing
from runyard.services.submissions import Submission

router = APIRouter(prefix="/jobs", tags=["jobs"])
RESTING = frozenset({State.PAUSED, State.FAILED, State.CANCELLED})
"""States from which a job is taken up again."""

EXAMPLES: dict[str, Any] = {
    "sft": {
        "summary": "LoRA fine-tuning on an uploaded data set",
        "value": {
            "kind": "sft",
            "name": "orders",
            "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "data": {"train": "dataset:4be1c0ffee42", "eval_split": 0.1},
            "training": {"epochs": 2, "learning_rate": 2e-4},
        },
    },
    "dpo": {
        "summary": "Preference pairs",
        "value": {
            "kind": "dpo",
            "priority": "high",
            "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "data": "dataset:pairs.jsonl",
            "preference": {"beta": 0.1},
        },
    },
    "script": {
        "summary": "A program of your own",
        "value": {
            "kind": "script",
            "file": "/srv/team/train.py",
            "args": ["--epochs", "3"],
            "python": "/srv/team/.venv/bin/python",
            "resumable": True,
        },
    },
}
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Any text of your own: sending the same job again with it gives the job made the first time.",
    ),
]


@router.post(
    "",
    status_code=201,
    operation_id="submit_job",
    responses={
        200: {"description": "Made earlier with this key", "model": JobDetail},
        **failing(400, 409, 413, 415, 429, 507),
    },
)
async def submit(
    yard: YardDep, response: Response, spec: Annotated[JobSpec, Body(openapi_examples=EXAMPLES)], key: Key = None
) -> JobDetail:
    """Put a job in the queue. The body is the job itself, as in a job file."""
    submissions.require_storable(spec)
    try:
        resolved = await sources.resolve(yard.database, spec, yard.context)
        sums = await datasets.require_usable(spec, resolved)
    except InvalidError:  # what a job that is known already names may be gone by now
        async with yard.database.read() as session:
            known = await submissions.seen(session, spec, key)
        if known is None:
            raise
        return await _known(yard, known.id, response)
    submission = Submission(spec, resolved, new_id(), ACTOR, yard.clock(), key, data_sha256=sums)
    submitted = await yard.intake.submit(submission)
    job = submitted.job
    if not submitted.created:
        return await _known(yard, job.id, response)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return _shown(History(job, (), submitted.moves), queue.standing(job, submitted.place, submission.at), None)


async def _known(yard: Yard, job_id: str, response: Response) -> JobDetail:
    response.status_code = 200
    response.headers["Location"] = f"/api/v1/jobs/{job_id}"
    return await _detail(yard, job_id)


@router.get("", operation_id="list_jobs")
async def list_(
    yard: YardDep,
    state: Annotated[list[State] | None, Query(description="Any of these; may be repeated.")] = None,
    kind: Annotated[str | None, Query(description=f"One of {', '.join(SPEC_CLASSES)}.")] = None,
    name: Annotated[str | None, Query(description="Any part of the name, in any case.", max_length=100)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[JobRead]:
    """Jobs, newest first."""
    wanted = Filter(state, kind, name)
    async with yard.database.read(long=wanted != Filter()) as session:
        found, following = await jobs.page(session, wanted, cursor, limit)
    standings = await _standings(yard, found)
    return Page(items=[_read(job, standings[job.id]) for job in found], next_cursor=following)


@router.get("/{job_id}", operation_id="get_job", responses=failing(404))
async def show(yard: YardDep, job_id: str) -> JobDetail:
    """One job with its spec as asked, its attempts and every change of its state."""
    return await _detail(yard, job_id)


@router.post("/{job_id}/pause", operation_id="pause_job", responses=failing(404, 409))
async def pause(yard: YardDep, job_id: str) -> JobDetail:
    """Save a checkpoint and stop; a resumed job goes on from it."""
    return await _ask(yard, job_id, Cause.PAUSE_ASKED)


@router.post("/{job_id}/resume", operation_id="resume_job", responses=failing(404, 409, 429, 507))
async def resume(yard: YardDep, job_id: str) -> JobDetail:
    """Put a paused job back in the queue."""
    return await _ask(yard, job_id, Cause.RESUME_ASKED)


@router.post("/{job_id}/cancel", operation_id="cancel_job", responses=failing(404, 409))
async def cancel(yard: YardDep, job_id: str) -> JobDetail:
    """Stop it for good, with nothing saved."""
    return await _ask(yard, job_id, Cause.CANCEL_ASKED)


@router.post("/{job_id}/retry", operation_id="retry_job", responses=failing(404, 409, 429, 507))
async def retry(yard: YardDep, job_id: str, how: Annotated[Retry | None, Body()] = None) -> JobDetail:
    """Put a failed or cancelled job back in the queue, as it was; it goes on from its last checkpoint.

    With `fix` it stays as it is, and a new job with the change that its `advice` names is queued and returned.
    """
    if how is None or not how.fix:
        return await _ask(yard, job_id, Cause.RETRY_ASKED)
    await _require_unchanged(yard, job_id)
    async with yard.database.write() as session:
        job = await jobs.get(session, job_id)
        fixed = await fixes.made(session, job)
        if fixed is None:
            await submissions.require_place(session, yard.context)
            fixed = await fixes.submit(session, job, fixes.Making(new_id(), ACTOR, yard.clock()), yard.context)
    yard.changed()
    return await _detail(yard, fixed.id)


async def _require_unchanged(yard: Yard, job_id: str) -> None:
    async with yard.database.read() as session:
        job = await jobs.get(session, job_id)
    if job.state in RESTING:
        await inputs.require_unchanged(job)


@router.post("/{job_id}/keep", operation_id="keep_job", responses=failing(404))
async def keep(yard: YardDep, job_id: str, ask: KeepAsk) -> JobDetail:
    """Never remove anything of a job, nor of those that it needs; or let it go its way again."""
    async with yard.database.write() as session:
        await retention.keep(session, job_id, ask.keep)
    return await _detail(yard, job_id)


async def _ask(yard: Yard, job_id: str, cause: Cause) -> JobDetail:
    again = cause in (Cause.RESUME_ASKED, Cause.RETRY_ASKED)
    if again:
        await _require_unchanged(yard, job_id)
    async with yard.database.write() as session:
        if again and (await jobs.get(session, job_id)).state in RESTING:
            await submissions.require_place(session, yard.context)
        await jobs.ask(session, job_id, cause, ACTOR, yard.clock())
    yard.changed()
    return await _detail(yard, job_id)


def _read(job: Job, standing: Standing) -> JobRead:
    read = JobRead.model_validate(job)
    read.queue_position, read.wait_cause = standing.position, standing.cause
    return read


async def _detail(yard: Yard, job_id: str) -> JobDetail:
    async with yard.database.read() as session:  # at once: it is what a change made before the engine goes on from it
        history = await jobs.show(session, job_id)
        found = await fixes.advise(session, history.job)
    return _shown(history, (await _standings(yard, [history.job]))[job_id], found)


async def _standings(yard: Yard, found: Sequence[Job]) -> dict[str, Standing]:
    """For a place, all who stand in line are counted."""
    if not any(job.state == State.QUEUED for job in found):
        return {job.id: Standing() for job in found}
    async with yard.database.read(long=True) as session:
        return await queue.standings(session, found, yard.clock())


def _shown(history: History, standing: Standing, advice: Advice | None) -> JobDetail:
    return JobDetail.model_construct(  # of parts that have been looked at
        **dict(_read(history.job, standing)),
        spec=history.job.spec,
        advice=_advice(advice) if advice else None,
        attempt_history=[AttemptRead.model_validate(attempt) for attempt in history.attempts],
        moves=[MoveRead.model_validate(move) for move in history.moves],
    )


def _advice(advice: Advice) -> AdviceRead:
    changes = [ChangeRead(field=change.field, before=change.before, after=change.after) for change in advice.changes]
    return AdviceRead(explanation=advice.explanation, changes=changes, goes_on=advice.goes_on)
