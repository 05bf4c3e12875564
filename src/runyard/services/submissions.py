"""Submitting jobs, one or many in one transaction."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runyard.db.database import Session
from runyard.db.queries import datasets, estimates, idempotency, queue
from runyard.db.queries import jobs as queries
from runyard.db.tables import IdempotencyKey, Job, Move
from runyard.domain.access import Owner
from runyard.domain.errors import InvalidError, KeyReusedError, RunyardError
from runyard.domain.estimates import workload
from runyard.domain.lifecycle import State
from runyard.domain.placement import order
from runyard.protocol.problems import Problem, spec_problems
from runyard.protocol.specs import Spec, job_spec
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import jobs, origins, quotas
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
    owner: Owner
    actor: str
    at: float
    key: str | None = None
    schedule_id: str | None = None
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    """Of its data files, by field."""
    template: Mapping[str, Any] | None = None
    """What it was made from: `id`, `name` and `version`."""
    request: Mapping[str, Any] | None = None
    """What was asked for, where that was not the spec itself: the key stands for it."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(as_asked(self.spec) if self.request is None else self.request)


@dataclass
class Submitted:
    """`created` is False for a job that an earlier submission with the same key made; the rest is told of a new one."""

    job: Job
    created: bool
    place: int | None = None
    """In line, counted from 1."""
    moves: list[Move] = field(default_factory=list)


async def seen(session: Session, request: Mapping[str, Any], user: str, key: str | None) -> Job | None:
    """The job that an earlier submission with this key made. Raises KeyReusedError when that one asked for another."""
    known = await idempotency.get(session, user, key) if key else None
    if known is None:
        return None
    _require_same(known, fingerprint(request))
    return await jobs.get(session, known.job_id)


async def submit(session: Session, submission: Submission, context: Context) -> tuple[Job, bool]:
    """Put a job in the queue; False with the job made earlier if the key was seen before.

    Raises KeyReusedError, InvalidError, QueueFullError and NoRoomError.
    """
    [result] = await submit_all(session, [submission], context)
    if isinstance(result, RunyardError):
        raise result
    return result.job, result.created


async def submit_all(
    session: Session, submissions: Sequence[Submission], context: Context
) -> list[Submitted | RunyardError]:
    """Put jobs in the queue, each for itself: what becomes of it, or why it is refused, as `submit` would raise it."""
    known = await idempotency.get_all(session, [(one.owner.user, one.key) for one in submissions if one.key])
    lengths = await queue.lengths(session, submissions[0].at)
    waiting = await quotas.line(session, {submission.owner for submission in submissions}, context)
    group = _Group(context, known, waiting, lengths)
    results: list[Submitted | RunyardError] = []
    for submission in submissions:
        try:
            results.append(await group.take(session, submission))
        except RunyardError as refusal:
            results.append(refusal)
    await group.write(session)
    return results


@dataclass
class _Group:
    """Submissions of one transaction: what is looked up for all of them, and what is written for them at once."""

    context: Context
    known: dict[idempotency.Key, IdempotencyKey]
    waiting: quotas.Line
    line: dict[int, int]
    """How many stand in it, by rank."""
    new: dict[str, tuple[Submitted, str]] = field(default_factory=dict)
    """By job, with who asked for it."""
    paces: dict[str, float | None] = field(default_factory=dict)
    """Seconds for a unit of each kind of work, where any was done before."""

    async def take(self, session: Session, submission: Submission) -> Submitted:
        key = submission.owner.user, submission.key or ""
        if earlier := self.known.get(key):
            _require_same(earlier, submission.fingerprint)
            made = self.new.get(earlier.job_id)
            return Submitted(made[0].job if made else await jobs.get(session, earlier.job_id), created=False)
        await self._require_place(session, submission)
        await _require_inputs(session, submission, self.context)
        job = _job(submission)
        job.estimated_seconds = await estimates.of_job(session, job, self.paces)
        submitted = Submitted(job, created=True, place=self._stand_in_line(job))
        self.new[job.id] = (submitted, submission.actor)
        self.waiting.add(submission.owner)
        if submission.key:
            self.known[key] = IdempotencyKey(
                user=submission.owner.user,
                key=submission.key,
                body_sha256=submission.fingerprint,
                job_id=job.id,
                created_at=submission.at,
            )
        return submitted

    async def _require_place(self, session: Session, submission: Submission) -> None:
        self.waiting.require_place(submission.owner)
        gpus = submission.spec.resources.gpus != 0
        await quotas.require_left(session, submission.owner, self.waiting.book, submission.at, gpus=gpus)
        self.context.require_room()

    def _stand_in_line(self, job: Job) -> int:
        own = order.RANK[job.priority]
        self.line[own] = self.line.get(own, 0) + 1
        return sum(length for rank, length in self.line.items() if rank <= own)

    async def write(self, session: Session) -> None:
        new = [(submitted.job, actor) for submitted, actor in self.new.values()]
        moves = await queries.add_all(session, new)
        for (submitted, _), move in zip(self.new.values(), moves, strict=True):
            submitted.moves.append(move)
        await idempotency.add_all(session, [known for known in self.known.values() if known.job_id in self.new])


def _job(submission: Submission) -> Job:
    spec, resolved = submission.spec, submission.resolved
    job = row(spec, resolved.spec, submission.owner, submission.job_id, submission.at)
    job.name = spec.name or default_name(resolved)
    job.parent_id, job.schedule_id = resolved.parent_id, submission.schedule_id
    job.template = dict(submission.template) if submission.template else None
    job.data_sha256 = dict(submission.data_sha256)
    return job


def row(spec: Spec, resolved: Spec, owner: Owner, job_id: str, at: float) -> Job:
    """A new job in the queue, as far as its spec tells."""
    work = workload(resolved, _data_bytes(resolved))
    return Job(
        id=job_id,
        kind=spec.kind,
        name=spec.name or spec.kind,
        model=None if isinstance(spec, ScriptSpec) else spec.model.name,
        experiment=spec.experiment,
        tags=list(spec.tags),
        spec=as_asked(spec),
        tenant=owner.tenant,
        user=owner.user,
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
        failures=0,
        attempts=0,
        events_offset=0,
        kept=False,
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


def spec_of(fields: Mapping[str, Any]) -> Spec:
    """The job that plain values are. Raises InvalidError."""
    try:
        return job_spec.validate_python(fields)
    except ValidationError as error:
        found = spec_problems(error, str(fields.get("kind")))
        raise InvalidError("the job has fields that can't be used", problems=found) from None


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


async def require_place(session: Session, job: Job, context: Context, now: float) -> None:
    """Raise QueueFullError, OverQuotaError or NoRoomError when a job of the same owner can't be taken."""
    owner = Owner(job.user, job.tenant)
    waiting = await quotas.line(session, [owner], context)
    waiting.require_place(owner)
    await quotas.require_left(session, owner, waiting.book, now, gpus=job.gpus != 0)
    context.require_room()


def _require_same(known: IdempotencyKey, asked: str) -> None:
    if known.body_sha256 != asked:
        raise KeyReusedError(
            f"the key {known.key!r} belongs to job {known.job_id}, which asks for something else",
            hint="send another Idempotency-Key with another job",
        )


async def _require_inputs(session: Session, submission: Submission, context: Context) -> None:
    """An upload may have been deleted since it was found, or a checkpoint removed."""
    spec = submission.spec
    if isinstance(spec, ScriptSpec):
        return
    problems = await deleted(session, submission.resolved)
    if spec.continue_from is not None:
        try:
            newest = await origins.find(session, spec.continue_from, context)
            _require_kept(submission.resolved.spec, newest.folder)
        except ValueError as error:
            problems.append(Problem(field="continue_from", message=str(error)))
    if problems:
        raise InvalidError("what the job names is gone", problems=problems)


async def deleted(session: Session, resolved: Resolved) -> list[Problem]:
    """Uploads that were there when they were looked for, and are not any more."""
    return [
        Problem(field=data.field, message=f"the data set {data.upload.id} was deleted: upload it again")
        for data in resolved.data
        if data.upload and not await datasets.get(session, data.upload.id)
    ]


def _require_kept(resolved: Spec, newest: str) -> None:
    """Raise ValueError when a job that still runs has replaced the checkpoint that was found by a newer one."""
    found = None if isinstance(resolved, ScriptSpec) else resolved.continue_from
    if found and found != newest and not Path(found).is_dir():
        raise ValueError(f"its checkpoint {Path(found).name} was removed a moment ago: submit the job again")


def fingerprint(request: Mapping[str, Any]) -> str:
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
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
