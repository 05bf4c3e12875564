"""Jobs that are submitted at a time or by a cron line: asked for by people, submitted by the engine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from runyard.db.database import Session
from runyard.db.queries import schedules as queries
from runyard.db.tables import DataSet, Job, Schedule
from runyard.domain import schedules as calendar
from runyard.domain.access import Caller
from runyard.domain.errors import InUseError, InvalidError, NotFoundError, QueueFullError, RunyardError
from runyard.domain.schedules import When
from runyard.protocol.problems import Problem, spec_problems
from runyard.protocol.specs import Spec, job_spec
from runyard.services import pages, submissions
from runyard.services.context import Context
from runyard.services.sources import UPLOADED
from runyard.services.submissions import Submission

ACTOR = "schedule"
LONGEST_NAME = 100
LONGEST_ERROR = 2000
LONGEST_HISTORY = 20
FAULT = 500
"""From this status on, an error is the server's, and says nothing against the job."""


@dataclass(frozen=True)
class Request:
    """What a person asks for; `at` as a text, in the time zone unless it has an offset of its own."""

    spec: Spec
    name: str
    cron: str | None
    at: str | None
    timezone: str


async def add(
    session: Session, request: Request, caller: Caller, schedule_id: str, now: float
) -> tuple[Schedule, bool]:
    """A new schedule; False with the one that is there when it asks for the very same.

    Raises InvalidError, and InUseError for the name of another one that is not over.
    """
    when, first = calendar.parse(request.cron, request.at, request.timezone, now)
    if not request.name.isprintable() or len(request.name) > LONGEST_NAME:
        problem = Problem(field="name", message=f"must be {LONGEST_NAME} printable characters at most")
        raise InvalidError("the schedule can't be used", problems=[problem])
    spec = submissions.as_asked(request.spec)
    if known := await queries.get(session, request.name):
        if known.spec == spec and _when(known) == when and not is_over(known):
            return known, False
        if not is_over(known):
            raise InUseError(
                f"there is another schedule called {known.name!r}",
                hint="remove it first, or give this one another name",
            )
        caller.require_change(known.user, f"the schedule {known.name!r}")
        await queries.delete(session, known)
    schedule = Schedule(
        id=schedule_id,
        tenant=caller.tenant,
        user=caller.user,
        name=request.name,
        spec=spec,
        cron=when.cron,
        at=when.at,
        timezone=when.timezone,
        paused=False,
        next_at=first,
        created_at=now,
    )
    await queries.add(session, schedule)
    return schedule, True


async def get(session: Session, name: str) -> Schedule:
    """By id or name. Raises NotFoundError."""
    if schedule := await queries.get(session, name):
        return schedule
    hint = "`runyard schedules list` shows what is there"
    raise NotFoundError(f"there is no schedule {name[:LONGEST_NAME]!r}", hint=hint)


async def page(session: Session, cursor: str | None, limit: int) -> tuple[Sequence[Schedule], str | None]:
    return pages.cut(await queries.page(session, pages.parse_cursor(cursor), limit + 1), limit)


async def to_change(session: Session, name: str, caller: Caller) -> Schedule:
    """Raises NotFoundError and ForbiddenError."""
    schedule = await get(session, name)
    caller.require_change(schedule.user, f"the schedule {schedule.name!r}")
    return schedule


async def remove(session: Session, name: str, caller: Caller) -> None:
    """The jobs that it has made stay. Raises NotFoundError and ForbiddenError."""
    await queries.delete(session, await to_change(session, name, caller))


async def pause(session: Session, name: str, caller: Caller) -> Schedule:
    """Nothing is submitted until it is resumed; what is missed meanwhile is not made up for.

    Raises NotFoundError and ForbiddenError.
    """
    schedule = await to_change(session, name, caller)
    if not is_over(schedule):
        schedule.paused, schedule.next_at = True, None
    return schedule


async def resume(session: Session, name: str, caller: Caller, now: float) -> Schedule:
    """Raises NotFoundError, ForbiddenError, and InvalidError when its one time has passed."""
    schedule = await to_change(session, name, caller)
    if not schedule.paused:
        return schedule
    following = _when(schedule).after(now)
    if following is None:
        problem = Problem(field="at", message="its time has passed: remove it, and add a new one")
        raise InvalidError("the schedule can't be resumed", problems=[problem])
    schedule.paused, schedule.next_at = False, following
    return schedule


def is_over(schedule: Schedule) -> bool:
    """Will it never submit again?"""
    return schedule.next_at is None and not schedule.paused


def spec_of(schedule: Schedule) -> Spec:
    """Raises InvalidError when this version no longer takes what an earlier one took."""
    try:
        return job_spec.validate_python(schedule.spec)
    except ValidationError as error:
        found = spec_problems(error, str(schedule.spec.get("kind")))
        raise InvalidError("the job has fields that can't be used", problems=found) from None


async def submit(session: Session, seen: Schedule, submission: Submission, context: Context) -> Job | None:
    """Put a due job in the queue and move its schedule on, in one transaction: it happens once or not at all.

    None if somebody else was faster, or a person changed the schedule. Raises what `submissions.submit` raises.
    """
    schedule = await _unchanged(session, seen)
    if schedule is None:
        return None
    submission = replace(submission, actor=f"{ACTOR}:{schedule.name}", schedule_id=schedule.id)
    job, _ = await submissions.submit(session, submission, context)
    schedule.last_job_id = job.id
    _note(schedule, submission.at, job_id=job.id)
    schedule.next_at = _when(schedule).after(submission.at)
    return job


async def refuse(session: Session, seen: Schedule, error: RunyardError, now: float) -> None:
    """Write down why a due job was not queued, and when it is tried again."""
    schedule = await _unchanged(session, seen)
    if schedule is None:
        return
    when = _when(schedule)
    _note(schedule, now, error=in_words(error))
    may_pass = isinstance(error, QueueFullError) or error.status >= FAULT
    schedule.next_at = when.to_retry(now) if may_pass else when.after(now)


def in_words(error: RunyardError) -> str:
    """The whole of an error in one line."""
    found = "; ".join(str(problem) for problem in error.problems)
    return (f"{error.message}: {found}" if found else error.message)[:LONGEST_ERROR]


def _note(schedule: Schedule, at: float, job_id: str | None = None, error: str | None = None) -> None:
    """What became of the time that was due: a job, or why there is none."""
    schedule.last_at, schedule.last_error = at, error
    last = {"due": schedule.next_at, "at": at, "job_id": job_id, "error": error}
    schedule.history = [*schedule.history, last][-LONGEST_HISTORY:]


async def _unchanged(session: Session, seen: Schedule) -> Schedule | None:
    schedule = await queries.get(session, seen.id)
    return schedule if schedule and schedule.next_at == seen.next_at else None


def _when(schedule: Schedule) -> When:
    return When(schedule.cron, schedule.at, schedule.timezone)


async def naming_data(session: Session, dataset: DataSet) -> str | None:
    """The name of a schedule whose jobs will need a data set."""
    names = {f"{UPLOADED}{dataset.id}", f"{UPLOADED}{dataset.name}"}
    pending = await queries.pending(session)
    named = ({schedule.spec.get("data", {}).get(field) for field in ("train", "eval")} for schedule in pending)
    return next((schedule.name for schedule, data in zip(pending, named, strict=True) if names & data), None)
