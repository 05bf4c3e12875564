"""Jobs: submit, show, change, and ask them to move."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from runyard.db.tables import Job
from runyard.domain.advice import Advice
from runyard.domain.errors import InvalidError, NotReadyError
from runyard.domain.lifecycle import Cause, State
from runyard.protocol.specs import JobSpec, Spec
from runyard.schemas.facts import JobChange
from runyard.schemas.jobs import AdviceRead, AttemptRead, ChangeRead, ChoiceRead, JobDetail, MoveRead, Retry
from runyard.schemas.retention import KeepAsk
from runyard.server.api import failing, listing
from runyard.server.deps import Desk, ToSee, ToSubmit, new_id
from runyard.services import audit, datasets, fixes, inputs, jobs, queue, retention, sources, submissions
from runyard.services import listing as listings
from runyard.services.fixes import Prospect
from runyard.services.jobs import History
from runyard.services.listing import Change
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
    desk: ToSubmit, response: Response, spec: Annotated[JobSpec, Body(openapi_examples=EXAMPLES)], key: Key = None
) -> JobDetail:
    """Put a job in the queue. The body is the job itself, as in a job file."""
    return await accept(desk, response, Asked(spec, key))


@dataclass(frozen=True)
class Asked:
    """A job to be queued, with what `Submission` tells of the same names."""

    spec: Spec
    key: str | None = None
    template: Mapping[str, Any] | None = None
    request: Mapping[str, Any] | None = None


async def accept(desk: Desk, response: Response, asked: Asked) -> JobDetail:
    """The one way in for a job that somebody asks for."""
    spec, key = asked.spec, asked.key
    submissions.require_storable(spec)
    yard, caller = desk.yard, desk.caller
    try:
        resolved = await sources.resolve(yard.database, spec, caller, yard.context)
        sums = await datasets.require_usable(spec, resolved, yard.context)
    except InvalidError:  # what a job that is known already names may be gone by now
        request = submissions.as_asked(spec) if asked.request is None else asked.request
        if (known := await made_before(desk, response, request, key)) is None:
            raise
        return known
    submission = Submission(
        *(spec, resolved, new_id(), caller, caller.user, yard.clock(), key),
        data_sha256=sums,
        template=asked.template,
        request=asked.request,
    )
    details = {"template": f"{asked.template['name']}:{asked.template['version']}"} if asked.template else None
    audited = audit.entry(caller, desk.action, submission.at, submission.job_id, details)
    submitted = await yard.intake.submit(submission, audited)
    job = submitted.job
    if not submitted.created:
        return await _known(desk, job.id, response)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return _shown(
        History(job, (), submitted.moves), queue.standing(job, submitted.place, submission.at), None, submission.at
    )


async def made_before(desk: Desk, response: Response, request: Mapping[str, Any], key: str | None) -> JobDetail | None:
    """The job that this very request with this key made."""
    if key is None:
        return None
    async with desk.read() as session:
        known = await submissions.seen(session, request, desk.caller.user, key)
    return await _known(desk, known.id, response) if known else None


async def _known(desk: Desk, job_id: str, response: Response) -> JobDetail:
    response.status_code = 200
    response.headers["Location"] = f"/api/v1/jobs/{job_id}"
    return await _detail(desk, job_id)


@router.get("/{job_id}", operation_id="get_job", responses=failing(404))
async def show(desk: ToSee, job_id: str) -> JobDetail:
    """One job with its spec as asked, its attempts and every change of its state."""
    return await _detail(desk, job_id)


@router.patch("/{job_id}", operation_id="change_job", responses=failing(400, 404, 409, 413, 415))
async def change(desk: ToSubmit, job_id: str, ask: JobChange) -> JobDetail:
    """Give it other tags, or another priority: it stands in line where that puts it."""
    wanted = Change(ask.tags, ask.priority)
    async with desk.write(job_id, ask.model_dump(exclude_none=True)) as session:
        await listings.change(session, job_id, wanted, desk.caller, desk.yard.clock())
    desk.yard.changed()
    return await _detail(desk, job_id)


@router.post("/{job_id}/pause", operation_id="pause_job", responses=failing(404, 409))
async def pause(desk: ToSubmit, job_id: str) -> JobDetail:
    """Save a checkpoint and stop; a resumed job goes on from it."""
    return await _ask(desk, job_id, Cause.PAUSE_ASKED)


@router.post("/{job_id}/resume", operation_id="resume_job", responses=failing(404, 409, 429, 507))
async def resume(desk: ToSubmit, job_id: str) -> JobDetail:
    """Put a paused job back in the queue."""
    return await _ask(desk, job_id, Cause.RESUME_ASKED)


@router.post("/{job_id}/cancel", operation_id="cancel_job", responses=failing(404, 409))
async def cancel(desk: ToSubmit, job_id: str) -> JobDetail:
    """Stop it for good, with nothing saved."""
    return await _ask(desk, job_id, Cause.CANCEL_ASKED)


@router.post("/{job_id}/retry", operation_id="retry_job", responses=failing(400, 404, 409, 413, 415, 429, 507))
async def retry(desk: ToSubmit, job_id: str, how: Annotated[Retry | None, Body()] = None) -> JobDetail:
    """Put a failed or cancelled job back in the queue, as it was; it goes on from its last checkpoint.

    With `fix` it stays as it is, and a new job with the changes of a `choice` of its `advice` is queued and returned.
    """
    if how is None or not how.fix:
        return await _ask(desk, job_id, Cause.RETRY_ASKED)
    yard = desk.yard
    looked = await _require_unchanged(desk, job_id)
    async with desk.write(job_id, {"fix": True, "choice": how.choice}) as session:
        job = await jobs.to_change(session, job_id, desk.caller)
        fixed = await fixes.made(session, job, how.choice)
        if fixed is None:
            _require_usable(desk, job, looked)
            await submissions.require_place(session, job, yard.context, yard.clock())
            making = fixes.Making(new_id(), desk.caller.user, yard.clock())
            fixed = await fixes.submit(session, job, making, yard.context, how.choice)
    yard.changed()
    return await _detail(desk, fixed.id)


async def _require_unchanged(desk: Desk, job_id: str) -> bool:
    """False for a job that does not rest, whose inputs were not looked at."""
    async with desk.read() as session:
        job = await jobs.to_change(session, job_id, desk.caller)
    if job.state not in RESTING:
        return False
    await inputs.require_unchanged(job, desk.caller, desk.yard.context)
    return True


def _require_usable(desk: Desk, job: Job, looked: bool) -> None:
    """Much may happen while inputs are looked at: the job comes to rest only then, or they go."""
    if job.state not in RESTING:
        return
    if not looked:
        raise NotReadyError(f"job {job.id} has come to rest only now", hint="ask again")
    inputs.require_there(job, desk.caller, desk.yard.context)


@router.post("/{job_id}/keep", operation_id="keep_job", responses=failing(400, 404, 413, 415))
async def keep(desk: ToSubmit, job_id: str, ask: KeepAsk) -> JobDetail:
    """Never remove anything of a job, nor of those that it needs; or let it go its way again."""
    async with desk.write(job_id, {"keep": ask.keep}) as session:
        await retention.keep(session, job_id, ask.keep, desk.caller)
    return await _detail(desk, job_id)


async def _ask(desk: Desk, job_id: str, cause: Cause) -> JobDetail:
    again = cause in (Cause.RESUME_ASKED, Cause.RETRY_ASKED)
    looked = again and await _require_unchanged(desk, job_id)
    async with desk.write(job_id) as session:
        job = await jobs.to_change(session, job_id, desk.caller)
        if again and job.state in RESTING:
            _require_usable(desk, job, looked)
            await submissions.require_place(session, job, desk.yard.context, desk.yard.clock())
        await jobs.ask(session, job_id, cause, desk.caller, desk.yard.clock())
    desk.yard.changed()
    return await _detail(desk, job_id)


async def _detail(desk: Desk, job_id: str) -> JobDetail:
    async with desk.read() as session:  # at once: it is what a change made before the engine goes on from it
        history = await jobs.show(session, job_id)
        found = await fixes.advise(session, history.job)
        advice = _advice(found, await fixes.prospects(session, history.job, found)) if found else None
    return _shown(history, (await listing.standings(desk, [history.job]))[job_id], advice, desk.yard.clock())


def _shown(history: History, standing: Standing, advice: AdviceRead | None, now: float) -> JobDetail:
    return JobDetail.model_construct(  # of parts that have been looked at
        **dict(listing.read(history.job, standing, now)),
        spec=history.job.spec,
        advice=advice,
        attempt_history=[AttemptRead.model_validate(attempt) for attempt in history.attempts],
        moves=[MoveRead.model_validate(move) for move in history.moves],
    )


def _advice(advice: Advice, prospects: Sequence[Prospect]) -> AdviceRead:
    choices = [
        ChoiceRead(
            effect=choice.effect,
            changes=[ChangeRead(field=one.field, before=one.before, after=one.after) for one in choice.changes],
            goes_on=choice.goes_on,
            from_step=prospect.from_step,
            seconds=prospect.seconds,
        )
        for choice, prospect in zip(advice.choices, prospects, strict=True)
    ]
    return AdviceRead(explanation=advice.explanation, choices=choices)
