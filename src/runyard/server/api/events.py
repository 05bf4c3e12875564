"""The live feed of one job and of the yard, by page, server-sent events and WebSocket; metrics."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response, WebSocket
from pydantic_core import to_json

from runyard.db.queries import events as event_queries
from runyard.db.queries import metrics as metric_queries
from runyard.domain.errors import RunyardError
from runyard.schemas.jobs import EventRead, MetricRead
from runyard.schemas.page import Page
from runyard.server import streams
from runyard.server.api import failing, sending
from runyard.server.deps import Yard, YardDep
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
async def page(yard: YardDep, after: EventId = 0, limit: PageLimit = 500) -> Page[EventRead]:
    """Events of all jobs, oldest first."""
    return await _page(yard, after, limit, None)


@router.get("/jobs/{job_id}/events", operation_id="list_job_events", responses=failing(404))
async def job_page(yard: YardDep, job_id: str, after: EventId = 0, limit: PageLimit = 500) -> Page[EventRead]:
    """Events of one job, oldest first."""
    return await _page(yard, after, limit, job_id)


@router.get("/stream", operation_id="stream_events", response_class=Response, responses=STREAM)
async def stream(yard: YardDep, after: After = "latest", last_event_id: LastEventId = None) -> Response:
    """Events of all jobs as they come. A client that was away goes on from its `Last-Event-ID` and misses nothing."""
    return await _stream(yard, after, last_event_id, None)


@router.get(
    "/jobs/{job_id}/stream",
    operation_id="stream_job_events",
    response_class=Response,
    responses={**STREAM, **failing(404)},
)
async def job_stream(yard: YardDep, job_id: str, after: After = 0, last_event_id: LastEventId = None) -> Response:
    """Events of one job; the last one is `end`, when the job has ended."""
    return await _stream(yard, after, last_event_id, job_id)


@router.websocket("/ws")
async def socket(websocket: WebSocket, yard: YardDep, after: After = "latest") -> None:
    await _serve(websocket, yard, after, None)


@router.websocket("/jobs/{job_id}/ws")
async def job_socket(websocket: WebSocket, yard: YardDep, job_id: str, after: After = 0) -> None:
    await _serve(websocket, yard, after, job_id)


@router.get(
    "/jobs/{job_id}/metrics", operation_id="list_metrics", response_model=list[MetricRead], responses=failing(404)
)
async def metrics(
    yard: YardDep,
    job_id: str,
    split: Literal["train", "eval"] | None = None,
    after_step: Annotated[int, Query(ge=-1, le=LARGEST_ID)] = -1,
) -> Response:
    """The curve: one point for each step and split, from the attempt that counts."""
    await _require(yard, job_id)
    async with yard.database.read(long=True) as session:
        rows = await metric_queries.of_job(session, job_id, split=split, after_step=after_step)
    # Of a long curve, a model for each point would keep all open pages waiting.
    points = to_json([row._asdict() for row in rows], inf_nan_mode="null")
    return Response(points, media_type="application/json")


async def _page(yard: Yard, after: int, limit: int, job_id: str | None) -> Page[EventRead]:
    async with yard.database.read() as session:
        if job_id is not None:
            await jobs.get(session, job_id)
        rows = await event_queries.after(session, after, job_id, limit)
    following = str(rows[-1].id) if len(rows) == limit else None
    return Page(items=[EventRead.model_validate(row) for row in rows], next_cursor=following)


async def _stream(yard: Yard, after: int | str, last_event_id: int | None, job_id: str | None) -> Response:
    await _require(yard, job_id)
    cursor = await yard.cursor(after if last_event_id is None else last_event_id)
    return streams.EventStream(yard.hub.follow(cursor, job_id))


async def _serve(websocket: WebSocket, yard: Yard, after: int | str, job_id: str | None) -> None:
    try:
        await _require(yard, job_id)
    except RunyardError as error:
        await websocket.send_denial_response(as_response(error))
        return
    cursor = await yard.cursor(after)
    await streams.serve_socket(websocket, yard.hub.follow(cursor, job_id))


async def _require(yard: Yard, job_id: str | None) -> None:
    if job_id is not None:
        async with yard.database.read() as session:
            await jobs.get(session, job_id)
