"""The live feed of one job and of the yard, by page, server-sent events and WebSocket."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response, WebSocket

from runyard.db.queries import events as event_queries
from runyard.domain.errors import RunyardError
from runyard.schemas.jobs import EventRead
from runyard.schemas.page import Page
from runyard.server import streams
from runyard.server.api import failing, sending
from runyard.server.deps import Desk, ToSee
from runyard.server.errors import as_response
from runyard.services import jobs

router = APIRouter(tags=["live"])

LARGEST_ID = 2**63 - 1
EventId = Annotated[int, Query(ge=0, le=LARGEST_ID)]
After = Annotated[
    EventId | Literal["latest"],
    Query(description="Begin after this event; 0 is the beginning, `latest` is now."),
]
LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=LARGEST_ID)]
PageLimit = Annotated[int, Query(ge=1, le=5000)]
STREAM = sending(streams.EventStream.media_type, "Server-sent events; `data` is an EventRead, `id` the cursor")


@router.get("/events", operation_id="list_events")
async def page(desk: ToSee, after: EventId = 0, limit: PageLimit = 500) -> Page[EventRead]:
    """Events of all jobs, oldest first."""
    return await _page(desk, after, limit, None)


@router.get("/jobs/{job_id}/events", operation_id="list_job_events", responses=failing(404))
async def job_page(desk: ToSee, job_id: str, after: EventId = 0, limit: PageLimit = 500) -> Page[EventRead]:
    """Events of one job, oldest first."""
    return await _page(desk, after, limit, job_id)


@router.get("/stream", operation_id="stream_events", response_class=Response, responses=STREAM)
async def stream(desk: ToSee, after: After = "latest", last_event_id: LastEventId = None) -> Response:
    """Events of all jobs as they come. A client that was away goes on from its `Last-Event-ID` and misses nothing."""
    return await _stream(desk, after, last_event_id, None)


@router.get(
    "/jobs/{job_id}/stream",
    operation_id="stream_job_events",
    response_class=Response,
    responses={**STREAM, **failing(404)},
)
async def job_stream(desk: ToSee, job_id: str, after: After = 0, last_event_id: LastEventId = None) -> Response:
    """Events of one job; the last one is `end`, when the job has ended."""
    return await _stream(desk, after, last_event_id, job_id)


@router.websocket("/ws")
async def socket(websocket: WebSocket, desk: ToSee, after: After = "latest") -> None:
    await _serve(websocket, desk, after, None)


@router.websocket("/jobs/{job_id}/ws")
async def job_socket(websocket: WebSocket, desk: ToSee, job_id: str, after: After = 0) -> None:
    await _serve(websocket, desk, after, job_id)


async def _page(desk: Desk, after: int, limit: int, job_id: str | None) -> Page[EventRead]:
    async with desk.read() as session:
        if job_id is not None:
            await jobs.get(session, job_id)
        rows = await event_queries.after(session, after, job_id, limit)
    following = str(rows[-1].id) if len(rows) == limit else None
    return Page(items=[EventRead.model_validate(row) for row in rows], next_cursor=following)


async def _stream(desk: Desk, after: int | str, last_event_id: int | None, job_id: str | None) -> Response:
    await _require(desk, job_id)
    cursor = await desk.yard.cursor(after if last_event_id is None else last_event_id)
    return streams.EventStream(_feed(desk, cursor, job_id), cursor, desk.until_revoked)


async def _serve(websocket: WebSocket, desk: Desk, after: int | str, job_id: str | None) -> None:
    try:
        await _require(desk, job_id)
    except RunyardError as error:
        await websocket.send_denial_response(as_response(error))
        return
    cursor = await desk.yard.cursor(after)
    await streams.serve_socket(websocket, _feed(desk, cursor, job_id), desk.until_revoked)


def _feed(desk: Desk, cursor: int, job_id: str | None) -> streams.Batches:
    hub = desk.yard.hub
    return hub.follow(cursor, desk.caller.tenant) if job_id is None else hub.follow_job(cursor, job_id)


async def _require(desk: Desk, job_id: str | None) -> None:
    if job_id is not None:
        async with desk.read() as session:
            await jobs.get(session, job_id)
