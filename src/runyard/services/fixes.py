"""Advice on jobs that failed, and new jobs made by following it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from runyard.db.database import Session
from runyard.db.queries import attempts, checkpoints, estimates, events, idempotency, moves
from runyard.db.queries import jobs as queries
from runyard.db.tables import Attempt, IdempotencyKey, Job
from runyard.domain import advice
from runyard.domain.access import Owner
from runyard.domain.advice import Advice
from runyard.domain.cures import Facts
from runyard.domain.errors import InvalidError, NotReadyError
from runyard.domain.lifecycle import State
from runyard.protocol.specs import Spec, job_spec
from runyard.services import jobs, sources, submissions
from runyard.services.context import Context

ACTOR = "advice"
MOST_IN_A_ROW = 3
"""So many jobs in a row are made without anybody asking, each a step further."""


@dataclass(frozen=True)
class Making:
    """Who makes a job, when, and under which id."""

    job_id: str
    actor: str
    at: float


async def advise(session: Session, job: Job) -> Advice | None:
    """What to do about a failed job; None for one that has not failed."""
    if job.state != State.FAILED:
        return None
    tries = await attempts.of_job(session, job.id)
    facts = _facts(job, tries[-1] if tries else None, await events.settled(session, job.id))
    return advice.advise(job.reason, job.message, _spec(job), facts)


async def made(session: Session, job: Job) -> Job | None:
    """The copy of a job that was made before, after this very failure."""
    known = await idempotency.get(session, job.user, _key(job))
    return await jobs.get(session, known.job_id) if known else None


async def submit(session: Session, job: Job, making: Making, context: Context) -> Job:
    """Queue a copy of a failed job with the change that its advice names; asked twice, the same one.

    It goes on from the newest checkpoint where its steps stay the same, else it begins like the first.
    Raises NotReadyError when there is no such change, and InvalidError when its model's code is no longer trusted.
    """
    if known := await made(session, job):
        return known
    found = await advise(session, job)
    if found is None or not found.changes:
        raise NotReadyError(
            f"there is no change to make to this {job.state} job by itself",
            hint=found.explanation if found else "`retry --fix` is for jobs that failed",
        )
    sources.require_trust(job.spec, context)
    copy = _copy(job, found, making)
    await _place(session, copy, job, found, context)
    copy.estimated_seconds = await estimates.of_job(session, copy)
    await queries.add(session, copy, making.actor)
    made_once = IdempotencyKey(user=job.user, key=_key(job), body_sha256="", job_id=copy.id, created_at=making.at)
    await idempotency.add(session, made_once)
    text = f"{_words(found)}: tried again as job {copy.id}, {_where(copy)}"
    message = events.Message(job.attempts, text, "info", {"fixed_by": copy.id})
    await events.say(session, job.id, making.at, message)
    return copy


async def follow(session: Session, job: Job, making: Making, context: Context) -> Job | None:
    """For a job that asks for it, the fixed copy; None when nothing can be changed, or that was done often enough."""
    if job.state != State.FAILED or not (job.resolved_spec.get("limits") or {}).get("apply_advice"):
        return None
    ancestor: Job | None = job
    for _ in range(MOST_IN_A_ROW):
        if ancestor is None or await moves.submitted_by(session, ancestor.id) != ACTOR:
            break
        ancestor = await queries.get(session, ancestor.parent_id) if ancestor.parent_id else None
    else:
        return None
    try:
        return await submit(session, job, making, context)
    except (NotReadyError, InvalidError):
        return None


def _key(job: Job) -> str:
    return f"fix of {job.id} after attempt {job.attempts}"


def _facts(job: Job, attempt: Attempt | None, told: Sequence[dict[str, Any]]) -> Facts:
    snapshot = job.snapshot or {}
    is_current = attempt is not None and snapshot.get("attempt") == attempt.number
    return Facts(
        chosen={data["choice"]["field"]: data["choice"]["value"] for data in told if data.get("choice")},
        on_gpu=bool(attempt and attempt.gpus),
        phase=snapshot.get("phase") if is_current else None,
        signal=attempt.exit_signal if attempt else None,
        longest_row=next((data["longest"] for data in reversed(told) if data.get("longest")), None),
    )


def _spec(job: Job) -> Spec | None:
    """As the job ran; None for one that an earlier version took and this one does not."""
    try:
        return job_spec.validate_python(job.resolved_spec)
    except ValidationError:
        return None


def _copy(job: Job, found: Advice, making: Making) -> Job:
    asked, resolved = (
        job_spec.validate_python(advice.apply(fields, found.changes)) for fields in (job.spec, job.resolved_spec)
    )
    copy = submissions.row(asked, resolved, Owner(job.user, job.tenant), making.job_id, making.at)
    copy.name, copy.parent_id, copy.template = job.name, job.id, job.template
    copy.data_sha256 = job.data_sha256
    return copy


async def _place(session: Session, copy: Job, job: Job, found: Advice, context: Context) -> None:
    """Let it start where the failed one stood, if it can."""
    kept = [row for row in await checkpoints.of_job(session, job.id) if row.removed_at is None]
    if job.kind == "script" or not found.goes_on or not kept:
        return
    newest = kept[-1]
    copy.spec = {**copy.spec, "continue_from": f"{job.id}:{newest.step}"}
    folder = context.rundir(job.id).root / newest.path
    copy.resolved_spec = {**copy.resolved_spec, "continue_from": str(folder)}


def _words(found: Advice) -> str:
    return ", ".join(str(change) for change in found.changes if change.before != change.after)


def _where(copy: Job) -> str:
    origin = copy.spec.get("continue_from")
    return f"which goes on from checkpoint {origin}" if origin else "from the start"
