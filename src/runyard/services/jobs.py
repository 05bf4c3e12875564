"""Submitting jobs, asking them to move, and reading them."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.db.database import Session
from runyard.db.queries import attempts, datasets, estimates, idempotency, moves
from runyard.db.queries import jobs as queries
from runyard.db.tables import Attempt, IdempotencyKey, Job, Move
from runyard.domain.errors import InvalidError, KeyReusedError, NotFoundError, QueueFullError
from runyard.domain.estimates import workload
from runyard.domain.lifecycle import Cause, State
from runyard.protocol.problems import Problem
from runyard.protocol.specs import Spec
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import pages
from runyard.services.context import Context
from runyard.services.sources import Resolved

MOST_INTEGER = 2**63 - 1
LONGEST_NAME = 100


@dataclass(frozen=True)
class Submission:
    """A job as asked for, with what it names found; `key` makes sending it twice harmless."""

    spec: Spec
    resolved: Resolved
    job_id: str
    actor: str
    at: float
    key: str | None = None
    schedule_id: str | None = None
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    """Of its data files, by field."""


@dataclass(frozen=True)
class History:
    """A job with its tries and moves."""

    job: Job
    attempts: Sequence[Attempt]
    moves: Sequence[Move]


async def seen(session: Session, spec: Spec, key: str | None) -> Job | None:
    """The job that an earlier submission with this key made. Raises KeyReusedError when that one asked for another."""
    known = await idempotency.get(session, key) if key else None
    if known is None:
        return None
    if known.body_sha256 != _fingerprint(spec):
        raise KeyReusedError(
            f"the key {known.key!r} belongs to job {known.job_id}, which asks for something else",
            hint="send another Idempotency-Key with another job",
        )
    return await get(session, known.job_id)


async def submit(session: Session, submission: Submission, context: Context) -> tuple[Job, bool]:
    """Put a job in the queue; False with the job made earlier if the key was seen before.

    Raises KeyReusedError, InvalidError, QueueFullError and NoRoomError.
    """
    spec, key = submission.spec, submission.key
    if known := await seen(session, spec, key):
        return known, False
    await require_place(session, context)
    await _require_uploads(session, submission.resolved)
    job = row(spec, submission.resolved.spec, submission.job_id, submission.at)
    job.name = spec.name or default_name(submission.resolved)
    job.parent_id, job.schedule_id = submission.resolved.parent_id, submission.schedule_id
    job.data_sha256 = dict(submission.data_sha256)
    job.estimated_seconds = await estimates.of_job(session, job)
    await queries.add(session, job, submission.actor)
    if key:
        known_key = IdempotencyKey(key=key, body_sha256=_fingerprint(spec), job_id=job.id, created_at=submission.at)
        await idempotency.add(session, known_key)
    return job, True


def row(spec: Spec, resolved: Spec, job_id: str, at: float) -> Job:
    """A new job in the queue, as far as its spec tells."""
    work = workload(resolved, _data_bytes(resolved))
    return Job(
        id=job_id,
        kind=spec.kind,
        name=spec.name or spec.kind,
        spec=as_asked(spec),
        resolved_spec=resolved.model_dump(mode="json"),
        priority=spec.priority,
        gpus=spec.resources.gpus,
        gpu_memory_mb=_megabytes(spec.resources.gpu_memory),
        cpus=spec.resources.cpus,
        memory_mb=_megabytes(spec.resources.memory),
        resumable=spec.resumable if isinstance(spec, ScriptSpec) else True,
        workload=work.kind if work else None,
        work=work.amount if work else None,
        state=State.QUEUED.value,
        created_at=at,
        queued_at=at,
        updated_at=at,
    )


def _data_bytes(spec: Spec) -> int | None:
    """The size of the training data, where they are a file."""
    if isinstance(spec, ScriptSpec) or not spec.data.train.startswith("/"):
        return None
    try:
        return Path(spec.data.train).stat().st_size
    except OSError:
        return None


def require_storable(spec: Spec) -> None:
    """Raise InvalidError for values that JSON or a database can't hold."""
    if problems := list(_unstorable(spec.model_dump(mode="python"), "")):
        raise InvalidError("the job has values that can't be kept", problems=problems)


def _megabytes(size: int | None) -> int | None:
    return None if size is None else math.ceil(size / (1 << 20))


def as_asked(spec: Spec) -> dict[str, Any]:
    """The spec without the fields that were left out."""
    return {**spec.model_dump(mode="json", exclude_unset=True), "kind": spec.kind}


def default_name(resolved: Resolved) -> str:
    """Such as `orders sft`."""
    if isinstance(resolved.spec, ScriptSpec):
        return resolved.spec.title
    train = resolved.data[0]
    source = train.upload.name if train.upload else Path(train.name).name
    return f"{Path(source).stem[: LONGEST_NAME - 10]} {resolved.spec.kind}"


async def get(session: Session, job_id: str) -> Job:
    """Raises NotFoundError."""
    if job := await queries.get(session, job_id):
        return job
    raise NotFoundError(f"there is no job {job_id[:LONGEST_NAME]!r}", hint="`runyard jobs list` shows what is there")


async def show(session: Session, job_id: str) -> History:
    job = await get(session, job_id)
    return History(job, await attempts.of_job(session, job_id), await moves.of_job(session, job_id))


async def page(
    session: Session, wanted: queries.Filter, cursor: str | None, limit: int
) -> tuple[Sequence[Job], str | None]:
    found = await queries.page(session, wanted, pages.parse_cursor(cursor), limit + 1)
    return pages.cut(found, limit)


async def ask(session: Session, job_id: str, cause: Cause, actor: str, at: float) -> Job:
    """Pause, resume, cancel or retry. Asking twice is no error. Raises NotFoundError and IllegalMoveError.

    One that is to be taken up again has to be looked at with `inputs.require_unchanged` before.
    """
    job = await get(session, job_id)
    await queries.apply_move(session, job, cause, actor, at)
    return job


async def require_place(session: Session, context: Context) -> None:
    """Raise QueueFullError or NoRoomError when no job more can be taken."""
    waiting = (await queries.count_by_state(session)).get(State.QUEUED.value, 0)
    if waiting >= context.max_waiting:
        raise QueueFullError(
            f"{waiting} jobs are waiting, and no more than {context.max_waiting} may",
            hint="wait for one to start, cancel one, or set RUNYARD_MAX_WAITING higher",
        )
    context.require_room()


async def _require_uploads(session: Session, resolved: Resolved) -> None:
    """An upload may have been deleted since it was found."""
    problems = [
        Problem(field=data.field, message=f"the data set {data.upload.id} was deleted: upload it again")
        for data in resolved.data
        if data.upload and not await datasets.get(session, data.upload.id)
    ]
    if problems:
        raise InvalidError("the job's data are gone", problems=problems)


def _fingerprint(spec: Spec) -> str:
    text = json.dumps(as_asked(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _unstorable(value: Any, field: str) -> Iterator[Problem]:
    match value:
        case dict():
            for name, item in value.items():
                yield from _unstorable(name, field)
                yield from _unstorable(item, f"{field}.{name}".lstrip("."))
        case list() | tuple():
            for item in value:
                yield from _unstorable(item, field)
        case str() if "\0" in value:
            yield Problem(field=field, message="holds the character NUL")
        case float() if not math.isfinite(value):
            yield Problem(field=field, message="must be a finite number")
        case int() if abs(value) > MOST_INTEGER:
            yield Problem(field=field, message="is too large a number")
