"""Advice on jobs that failed, and new jobs made by following it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from runyard.db.database import Session
from runyard.db.queries import attempts, checkpoints, estimates, events, idempotency, moves
from runyard.db.queries import jobs as queries
from runyard.db.tables import Attempt, Checkpoint, IdempotencyKey, Job
from runyard.domain import advice
from runyard.domain.access import Owner
from runyard.domain.advice import Advice, Choice
from runyard.domain.cures import Facts
from runyard.domain.errors import InvalidError, NotReadyError
from runyard.domain.lifecycle import State
from runyard.protocol.problems import Problem
from runyard.protocol.specs import Spec, job_spec
from runyard.services import sources, submissions
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


@dataclass(frozen=True)
class Prospect:
    """What a choice would come to: where it goes on, and how long it takes from there, if that can be known."""

    from_step: int
    seconds: float | None


async def prospects(session: Session, job: Job, found: Advice) -> list[Prospect]:
    """For each choice, from the pace that the failed job had itself; of one without a step, from jobs like it."""
    newest = await _newest_checkpoint(session, job)
    return [_prospect(job, choice, newest) for choice in found.choices]


def _prospect(job: Job, choice: Choice, newest: Checkpoint | None) -> Prospect:
    step = newest.step if newest and choice.goes_on else 0
    snapshot = job.snapshot or {}
    total, pace = snapshot.get("total_steps"), snapshot.get("iteration_seconds")
    seconds: float | None = None
    if choice.pace is not None and total and pace:
        seconds = max(0, total - step) * pace * choice.pace
    elif choice.pace is not None and job.estimated_seconds is not None and not step:
        seconds = job.estimated_seconds * choice.pace
    return Prospect(step, seconds)


async def made(session: Session, job: Job, choice: int = 1) -> Job | None:
    """The copy of a job that was made before by this choice, after this very failure, and not cancelled since."""
    known = await idempotency.get(session, job.user, _key(job, choice))
    copy = await queries.get(session, known.job_id) if known else None
    return None if copy is None or copy.state == State.CANCELLED else copy


async def submit(session: Session, job: Job, making: Making, context: Context, choice: int = 1) -> Job:
    """Queue a copy of a failed job with a choice of its advice, counted from 1; asked twice, the same one.

    It goes on from the newest checkpoint where its steps stay the same, else it begins like the first.
    Raises NotReadyError when there is nothing to choose, and InvalidError for a choice that is not there and when its
    model's code is no longer trusted.
    """
    if known := await made(session, job, choice):
        return known
    found = await advise(session, job)
    if found is None or not found.choices:
        raise NotReadyError(
            f"there is no change to make to this {job.state} job by itself",
            hint=found.explanation if found else "`retry --fix` is for jobs that failed",
        )
    chosen = _chosen(found, choice)
    sources.require_trust(job.spec, context)
    copy = _copy(job, chosen, making)
    await _place(session, copy, job, chosen, context)
    copy.estimated_seconds = await estimates.of_job(session, copy)
    await queries.add(session, copy, making.actor)
    key = _key(job, choice)
    await idempotency.forget(session, job.user, key)
    made_once = IdempotencyKey(user=job.user, key=key, body_sha256="", job_id=copy.id, created_at=making.at)
    await idempotency.add(session, made_once)
    text = f"{_words(chosen)}: tried again as job {copy.id}, {_where(copy)}"
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


def _chosen(found: Advice, number: int) -> Choice:
    if number > len(found.choices):
        problem = Problem(field="choice", message=f"must be from 1 to {len(found.choices)}")
        raise InvalidError("the advice has no such choice", problems=[problem])
    return found.choices[number - 1]


def _key(job: Job, choice: int) -> str:
    return f"fix of {job.id} after attempt {job.attempts}" + (f", choice {choice}" if choice > 1 else "")


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


def _copy(job: Job, chosen: Choice, making: Making) -> Job:
    asked, resolved = (
        job_spec.validate_python(advice.apply(fields, chosen.changes)) for fields in (job.spec, job.resolved_spec)
    )
    copy = submissions.row(asked, resolved, Owner(job.user, job.tenant), making.job_id, making.at)
    copy.name, copy.parent_id, copy.template = job.name, job.id, job.template
    copy.data_sha256 = job.data_sha256
    return copy


async def _newest_checkpoint(session: Session, job: Job) -> Checkpoint | None:
    """That a copy could begin with; a script's are its own."""
    kept = [row for row in await checkpoints.of_job(session, job.id) if row.removed_at is None]
    return kept[-1] if kept and job.kind != "script" else None


async def _place(session: Session, copy: Job, job: Job, chosen: Choice, context: Context) -> None:
    """Let it start where the failed one stood, if it can."""
    newest = await _newest_checkpoint(session, job)
    if newest is None or not chosen.goes_on:
        return
    copy.spec = {**copy.spec, "continue_from": f"{job.id}:{newest.step}"}
    folder = context.rundir(job.id).root / newest.path
    copy.resolved_spec = {**copy.resolved_spec, "continue_from": str(folder)}


def _words(chosen: Choice) -> str:
    return ", ".join(str(change) for change in chosen.changes if change.before != change.after)


def _where(copy: Job) -> str:
    origin = copy.spec.get("continue_from")
    return f"which goes on from checkpoint {origin}" if origin else "from the start"
