"""Quotas: what may be used, what is, and what is left."""

from typing import Annotated

from fastapi import APIRouter, Query

from runyard.db.queries import limits as rows
from runyard.domain.access import Act
from runyard.schemas.page import Page
from runyard.schemas.people import LimitRead, QuotaAsk, QuotaRead
from runyard.server.api import failing
from runyard.server.deps import ToManage, ToSee
from runyard.services import quotas
from runyard.services.quotas import Used

router = APIRouter(prefix="/quotas", tags=["people"])


@router.get("", operation_id="get_quotas", responses=failing(404))
async def show(
    desk: ToSee,
    user: Annotated[
        str | None, Query(description="One's own unless set; others' are for admins.", max_length=140)
    ] = None,
) -> Page[QuotaRead]:
    """What a user may have, has and has left; then the same for the whole tenant."""
    name = user or desk.caller.user
    if name != desk.caller.user:
        desk.caller.require(Act.MANAGE)
    context, now = desk.yard.context, desk.yard.clock()
    async with desk.read(long=True) as session:
        found = await quotas.used(session, desk.caller.tenant, name, context, now)
        found += await quotas.used(session, desk.caller.tenant, None, context, now)
    return Page(items=[_read(item) for item in found])


@router.get("/limits", operation_id="list_limits")
async def list_(desk: ToSee) -> Page[LimitRead]:
    """What was set for the tenant, each of its users, or one of them; an operator sees those of all tenants."""
    async with desk.read(widely=True) as session:
        return Page(items=[LimitRead.model_validate(row) for row in await rows.all_(session)])


@router.put("", operation_id="set_quotas", responses=failing(400, 404, 413, 415))
async def set_(desk: ToManage, ask: QuotaAsk) -> Page[LimitRead]:
    """Say how much somebody may have. It counts at once; what runs already is left alone."""
    amounts = {quota.value: amount for quota, amount in ask.amounts.items()}
    tenant = ask.tenant or desk.caller.tenant
    async with desk.write(ask.of, {"tenant": tenant, **amounts}, widely=True) as session:
        await quotas.change(session, desk.caller, ask.of, ask.amounts, tenant)
    desk.yard.wake("work")
    return await list_(desk)


def _read(item: Used) -> QuotaRead:
    left = None if item.limit is None else max(0.0, item.limit - item.used)
    return QuotaRead(of=item.of, quota=item.quota, used=item.used, limit=item.limit, left=left)
