"""The audit log: for admins, of their tenant; for operators, of all."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from runyard.db.queries.audit import Filter
from runyard.schemas.page import Page
from runyard.schemas.people import AuditRead
from runyard.server.api import sending
from runyard.server.deps import Cursor, Desk, Limit, ToManage
from runyard.services import audit

router = APIRouter(prefix="/audit", tags=["people"])

PIECE = 500
Text = Annotated[str | None, Query(max_length=200)]
Time = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since the epoch.")]


async def _filter(  # a plain function would be called in a thread
    user: Text = None,
    action: Text = None,
    target: Text = None,
    refused: bool | None = None,
    since: Time = None,
    until: Time = None,
) -> Filter:
    return Filter(user, action, target, refused, since, until)


Wanted = Annotated[Filter, Depends(_filter)]


@router.get("", operation_id="list_audit")
async def list_(
    desk: ToManage,
    wanted: Wanted,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[AuditRead]:
    """Who did what to what, when, from where, and what was refused; newest first."""
    async with desk.read(long=True, widely=True) as session:
        found, following = await audit.page(session, wanted, cursor, limit)
    return Page(items=[AuditRead.model_validate(entry) for entry in found], next_cursor=following)


@router.get(
    "/export",
    operation_id="export_audit",
    response_class=Response,
    responses=sending("application/x-ndjson", "One entry a line, newest first"),
)
async def export(
    desk: ToManage,
    wanted: Wanted,
) -> Response:
    """All of it, or what the filter lets pass, as JSON lines."""
    return StreamingResponse(_lines(desk, wanted), media_type="application/x-ndjson")


async def _lines(desk: Desk, wanted: Filter) -> AsyncIterator[bytes]:
    cursor: str | None = None
    while True:
        async with desk.read(long=True, widely=True) as session:
            found, cursor = await audit.page(session, wanted, cursor, PIECE)
        yield b"".join(AuditRead.model_validate(entry).model_dump_json().encode() + b"\n" for entry in found)
        if cursor is None:
            return
