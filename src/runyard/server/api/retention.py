"""What is removed by itself: a look at what would go, and a word to do it now."""

import asyncio

from fastapi import APIRouter

from runyard.db.queries import retention as queries
from runyard.domain.access import Act
from runyard.schemas.retention import CleanupRead, RetentionItem, RetentionRead
from runyard.server.deps import ToOperate, ToSee
from runyard.services import retention

router = APIRouter(prefix="/retention", tags=["retention"])


@router.get("", operation_id="get_retention")
async def look(desk: ToSee) -> RetentionRead:
    """What would go now, why, and how many bytes. Nothing is removed by asking."""
    yard = desk.yard
    async with desk.read(long=True) as session:
        found = await retention.find(session, yard.context, yard.clock())
        last = await queries.last_cleanup(session)
    items = await asyncio.to_thread(retention.measured, found.items, yard.context)
    if desk.caller.may(Act.OPERATE):  # what is prepared for all tenants lies there together
        items += await asyncio.to_thread(retention.in_cache, yard.context, found.in_use_since)
    return RetentionRead(
        items=[RetentionItem.model_validate(item) for item in items],
        spared=[RetentionItem.model_validate(item) for item in found.spared],
        size_bytes=sum(item.size_bytes for item in items),
        last=CleanupRead.model_validate(last) if last else CleanupRead(),
    )


@router.get("/last", operation_id="get_last_cleanup")
async def last(desk: ToOperate) -> CleanupRead:
    """What was removed last. `asked_at` is null once what was asked for is done."""
    async with desk.read() as session:
        found = await queries.last_cleanup(session)
    return CleanupRead.model_validate(found) if found else CleanupRead()


@router.post("", status_code=202, operation_id="apply_retention")
async def apply(desk: ToOperate) -> CleanupRead:
    """Have the engine remove now what it would remove within the hour."""
    async with desk.write() as session:
        found = CleanupRead.model_validate(await retention.ask(session, desk.yard.clock()))
    desk.yard.wake("work")
    return found
