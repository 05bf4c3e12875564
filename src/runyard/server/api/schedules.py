"""Schedules: add, list, show, pause, resume, delete."""

from fastapi import APIRouter, Response

from runyard.domain.errors import InvalidError
from runyard.schemas.page import Page
from runyard.schemas.schedules import ScheduleAsk, ScheduleRead
from runyard.server.api import failing
from runyard.server.deps import Cursor, Limit, ToSee, ToSubmit, new_id
from runyard.services import datasets, schedules, sources, submissions

router = APIRouter(prefix="/schedules", tags=["schedules"])


@router.post(
    "",
    status_code=201,
    operation_id="add_schedule",
    responses={
        200: {"description": "There already, asking for the very same", "model": ScheduleRead},
        **failing(400, 409, 413, 415),
    },
)
async def add(desk: ToSubmit, response: Response, ask: ScheduleAsk) -> ScheduleRead:
    """Have a job submitted at a time, or again and again by a cron line; it is checked as if it were submitted now."""
    submissions.require_storable(ask.spec)
    yard = desk.yard
    resolved = await sources.resolve(yard.database, ask.spec, desk.caller, yard.context)
    await datasets.require_usable(ask.spec, resolved, yard.context)
    name = ask.name or ask.spec.name or submissions.default_name(resolved)
    request = schedules.Request(ask.spec, name, ask.cron, ask.at, ask.timezone)
    async with desk.write(name) as session:
        if problems := await submissions.deleted(session, resolved):
            raise InvalidError("what the job names is gone", problems=problems)
        schedule, created = await schedules.add(session, request, desk.caller, new_id(), yard.clock())
    yard.wake("work")
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/api/v1/schedules/{schedule.id}"
    return ScheduleRead.model_validate(schedule)


@router.get("", operation_id="list_schedules")
async def list_(desk: ToSee, cursor: Cursor = None, limit: Limit = 50) -> Page[ScheduleRead]:
    """Schedules, newest first."""
    async with desk.read() as session:
        found, following = await schedules.page(session, cursor, limit)
    return Page(items=[ScheduleRead.model_validate(item) for item in found], next_cursor=following)


@router.get("/{name}", operation_id="get_schedule", responses=failing(404))
async def show(desk: ToSee, name: str) -> ScheduleRead:
    """One by its id or name: when it is next, and what became of its last job."""
    async with desk.read() as session:
        return ScheduleRead.model_validate(await schedules.get(session, name))


@router.post("/{name}/pause", operation_id="pause_schedule", responses=failing(404))
async def pause(desk: ToSubmit, name: str) -> ScheduleRead:
    """Submit nothing until it is resumed; what is missed meanwhile is not made up for."""
    async with desk.write(name) as session:
        return ScheduleRead.model_validate(await schedules.pause(session, name, desk.caller))


@router.post("/{name}/resume", operation_id="resume_schedule", responses=failing(404))
async def resume(desk: ToSubmit, name: str) -> ScheduleRead:
    """Go on from its next time."""
    async with desk.write(name) as session:
        schedule = await schedules.resume(session, name, desk.caller, desk.yard.clock())
    desk.yard.wake("work")
    return ScheduleRead.model_validate(schedule)


@router.delete("/{name}", status_code=204, operation_id="delete_schedule", responses=failing(404))
async def delete(desk: ToSubmit, name: str) -> None:
    """Forget a schedule. The jobs that it has made stay."""
    async with desk.write(name) as session:
        await schedules.remove(session, name, desk.caller)
