"""What to do about a job that failed: ways on with what is to be expected of each, else what the trainer said last."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from runyard.domain.advice import Choice
from runyard.domain.errors import RunyardError
from runyard.server.deps import Desk
from runyard.server.web import evidence, shown, words
from runyard.server.web.evidence import Chart, Like
from runyard.services import fixes, queue, secrets
from runyard.services.context import Context
from runyard.services.fixes import Prospect
from runyard.services.jobs import History
from runyard.services.logs import Reader, Stream

STREAMS: tuple[Stream, ...] = ("stderr", "stdout")
LAST_LINES = 20


@dataclass(frozen=True)
class Way:
    """A choice of the advice, and what differs in the job file by it: `takes` is how long, `begins` from where."""

    title: str
    effect: str
    takes: str
    begins: str
    differences: Sequence[shown.Difference]


@dataclass(frozen=True)
class Box:
    """`ahead` is how many wait before whatever would be started now."""

    explanation: str
    chart: Chart | None
    likes: Sequence[Like]
    ways: Sequence[Way] = ()
    ahead: int = 0
    last_lines: Sequence[str] = ()


async def box(desk: Desk, history: History, now: float) -> Box | None:
    """None for a reason that nobody knows."""
    job, attempt = history.job, history.attempts[-1] if history.attempts else None
    gpus = desk.yard.gpus() if attempt and attempt.machine == desk.yard.machine else []
    async with desk.read(long=True) as session:
        found = await fixes.advise(session, job)
        if found is None:
            return None
        prospects = await fixes.prospects(session, job, found)
        chart = await evidence.chart(session, job, attempt, gpus)
        likes = await evidence.went_well(session, job, now)
    if not found.choices:
        lines = await asyncio.to_thread(_last_lines, desk.yard.context, job.id)
        return Box(found.explanation, chart, likes, last_lines=lines)
    async with desk.yard.database.read(long=True) as session:  # the line is of all tenants
        ahead = await queue.ahead(session, job.priority, now)
    pairs = zip(found.choices, prospects, strict=True)
    return Box(found.explanation, chart, likes, [_way(choice, prospect) for choice, prospect in pairs], ahead)


def _way(choice: Choice, prospect: Prospect) -> Way:
    changes = [change for change in choice.changes if change.before != change.after]
    title = ", ".join(
        f"{change.field} {words.setting(change.before) or 'unset'} → {words.setting(change.after)}"
        for change in changes
    )
    takes = "time not known" if prospect.seconds is None else f"≈ {words.duration(prospect.seconds)}"
    begins = f"from step {words.count(prospect.from_step)}" if prospect.from_step else "from the start"
    return Way(title, choice.effect, takes, begins, shown.differences(choice.changes))


def _last_lines(context: Context, job_id: str) -> Sequence[str]:
    """Its errors, else its output; nothing while it can't be said what must be covered."""
    rundir = context.rundir(job_id)
    for stream in STREAMS:
        reader = Reader(rundir, stream, partial(secrets.mask, rundir, context))
        try:
            secrets.require_mask(rundir, context)
            reader.skip_to_tail(LAST_LINES)
            lines = reader.read(ended=True)
        except RunyardError:
            return []
        if lines:
            return lines[-LAST_LINES:]
    return []
