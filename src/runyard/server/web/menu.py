"""What may be done with one job of a list, and whom it would pass in line with another priority."""

from fastapi import APIRouter, Request, Response

from runyard.domain.lifecycle import State
from runyard.server.deps import ToSee
from runyard.server.web.frame import Sight, render
from runyard.services import jobs, queue
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


def _told(choice: Passing) -> str:
    if not choice.count:
        return "passes nobody" if choice.passes else "nobody passes it"
    who, others = ", ".join(choice.names), choice.count - len(choice.names)
    if others:
        noun = f"{'other' if who else 'job'}{'s' * (others > 1)}"
        who = f"{who}{' and ' if who else ''}{others} {noun}"
    verb = "pass" if choice.count > 1 else "passes"
    return f"passes {who}" if choice.passes else f"{who} {verb} it"
