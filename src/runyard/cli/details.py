"""All about one job, as text: its state, tries and moves, what to do when it failed, what it was asked to do."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runyard.cli import output

if TYPE_CHECKING:
    from runyard.schemas.jobs import AttemptRead, ChoiceRead, JobDetail, MoveRead


def show(job: "JobDetail") -> None:
    output.fields(_fields(job))
    for heading, lines in (
        ("advice", advice(job)),
        ("attempts", map(_attempt, job.attempt_history)),
        ("moves", map(_move, job.moves)),
    ):
        if found := list(lines):
            print(f"\n{heading}")
            print("\n".join(f"  {line}" for line in found))
    print("\nspec")
    print(output.as_yaml(job.spec, indent="  "))


def advice(job: "JobDetail") -> Iterator[str]:
    """What to do about a failure, and the command that does it where there is one."""
    found = job.advice
    if found is None:
        return
    yield found.explanation
    for number, choice in enumerate(found.choices, 1):
        yield f"{number}. {choice.effect}"
        yield from (f"   {line}" for line in changes(choice))
        yield f"   {_expected(choice)}"
    if found.choices:
        more = " [--choice N]" if len(found.choices) > 1 else ""
        yield f"Do the first in a new job: runyard jobs retry {job.id} --fix{more}"


def changes(choice: "ChoiceRead") -> Iterator[str]:
    for change in choice.changes:
        if change.before != change.after:
            yield f"{change.field}: {'unset' if change.before is None else change.before} -> {change.after}"


def _expected(choice: "ChoiceRead") -> str:
    where = f"goes on from step {choice.from_step}" if choice.from_step else "starts anew"
    took = f"takes about {output.duration(choice.seconds)}" if choice.seconds is not None else "how long is not known"
    return f"{where}, {took}"


def _fields(job: "JobDetail") -> Iterator[tuple[str, object]]:
    snapshot = job.snapshot
    yield "id", job.id
    yield "name", job.name
    yield "user", job.user
    yield "kind", job.kind
    yield "model", job.model
    yield "experiment", job.experiment
    yield "tags", " ".join(job.tags)
    yield "state", f"{job.state} ({job.wait_cause})" if job.wait_cause else job.state
    yield "why", f"{job.reason}: {job.message}" if job.reason else job.message
    yield "priority", job.priority
    yield "follows", job.parent_id
    yield "template", f"{job.template.name}, version {job.template.version}" if job.template else None
    yield "takes about", output.duration(job.estimated_seconds) if job.estimated_seconds else None
    if snapshot:
        yield "phase", snapshot.phase
        yield "step", f"{snapshot.step}/{snapshot.total_steps}" if snapshot.total_steps else None
        yield "loss", output.number(snapshot.loss)
        yield "eval loss", output.number(snapshot.eval_loss)
    yield "created", output.moment(job.created_at)
    yield "started", output.moment(job.started_at)
    yield "finished", output.moment(job.finished_at)


def _attempt(attempt: "AttemptRead") -> str:
    """Such as `2  2026-01-01 10:00:00  1:05  on gpuhost, GPU 0  exit 137, signal 9  killed: ...`."""
    place = ", ".join(filter(None, [attempt.machine, *(f"GPU {gpu}" for gpu in attempt.gpus)]))
    parts = [str(attempt.number), output.moment(attempt.started_at or attempt.created_at)]
    if attempt.ended_at is not None:
        parts.append(output.duration(max(0.0, attempt.ended_at - (attempt.started_at or attempt.created_at))))
    if place:
        parts.append(f"on {place}")
    parts.append(_exit(attempt))
    return "  ".join([*filter(None, parts), *_why(attempt)])


def _exit(attempt: "AttemptRead") -> str:
    if attempt.ended_at is None:
        return "under way"
    if attempt.exit_code is None:
        return "no exit code"
    return f"exit {attempt.exit_code}" + (f", signal {attempt.exit_signal}" if attempt.exit_signal else "")


def _move(move: "MoveRead") -> str:
    attempt = f", attempt {move.attempt}" if move.attempt else ""
    what = f"{move.before or '-'} -> {move.after}  {move.cause} by {move.actor}{attempt}"
    return "  ".join([output.moment(move.at), what, *_why(move)])


def _why(record: "AttemptRead | MoveRead") -> Iterator[str]:
    if record.reason:
        yield f"{record.reason}: {record.message}" if record.message else record.reason
