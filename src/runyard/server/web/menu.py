"""What may be done with one job, asked for when it is wanted: whom it would pass in line, and what a cancel costs."""

from fastapi import APIRouter, Request, Response

from runyard.db.queries import queue as line
from runyard.domain.lifecycle import ACTIVE, State
from runyard.server.deps import Desk, ToSee, ToSubmit
from runyard.server.web import shown
from runyard.server.web.frame import Sight, render
from runyard.services import artifacts, jobs, queue
from runyard.services.queue import Passing, Standing

router = APIRouter(prefix="/jobs")


@router.get("/{job_id}/menu")
async def show(desk: ToSee, request: Request, job_id: str) -> Response:
    """A part of a page, for a dialog."""
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        job = await jobs.get(session, job_id)
    standing, choices = Standing(), []
    if job.state == State.QUEUED:
        async with desk.yard.database.read(long=True) as session:  # the line is of all tenants
            standing = (await queue.standings(session, [job], sight.now))[job.id]
            choices = await queue.passings(session, job, desk.caller.tenant, sight.now)
    told = [(choice, _told(choice)) for choice in choices]
    return render(sight, "menu.html", job=job, standing=standing, choices=told)


@router.get("/{job_id}/cancel")
async def cancel(desk: ToSubmit, request: Request, job_id: str) -> Response:
    """A part of a page, for a dialog."""
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        job = await jobs.get(session, job_id)
        kept = [row.step for row in await artifacts.checkpoints_of_job(session, job_id) if row.removed_at is None]
    heir = await _heir(desk, sight.now) if job.state in ACTIVE else ""
    done = shown.shown(job, sight.now).done
    return render(sight, "cancel.html", job=job, done=done, kept=max(kept, default=None), heir=heir)


async def _heir(desk: Desk, now: float) -> str:
    """Who is to have the place of a job that is cancelled. The line is of all tenants."""
    async with desk.yard.database.read(long=True) as session:
        found = await line.first(session, now)
    if found is None:
        return "Nobody waits for its place."
    name, tenant = found
    return f"{name if tenant == desk.caller.tenant else 'A job of another tenant'} is next in line."


def _told(choice: Passing) -> str:
    if not choice.count:
        return "passes nobody" if choice.passes else "nobody passes it"
    who, others = ", ".join(choice.names), choice.count - len(choice.names)
    if others:
        noun = f"{'other' if who else 'job'}{'s' * (others > 1)}"
        who = f"{who}{' and ' if who else ''}{others} {noun}"
    verb = "pass" if choice.count > 1 else "passes"
    return f"passes {who}" if choice.passes else f"{who} {verb} it"
