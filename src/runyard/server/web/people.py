"""People, quotas, the audit log, and one's own keys, password and channels."""

from fastapi import APIRouter, Request, Response

from runyard.db.queries.audit import Filter
from runyard.protocol.notices import USUAL, Occasion
from runyard.server.deps import ToManage, ToSee
from runyard.server.web.frame import Sight, render
from runyard.services import accounts, audit, channels, deliveries, keys, quotas

router = APIRouter()

MOST_ENTRIES, LONGEST, SENT = 100, 200, 3


@router.get("/people")
async def people(desk: ToManage, request: Request) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        found = await accounts.list_(session)
        used = await quotas.used(session, desk.caller.tenant, None, desk.yard.context, sight.now)
        names = [user.name for user in found]
        each = await quotas.used_by_each(session, desk.caller.tenant, names, desk.yard.context, sight.now)
    return render(sight, "people.html", here="", users=found, used=used, each=each)


@router.get("/audit")
async def log(desk: ToManage, request: Request) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    asked = {name: value[:LONGEST] for name, value in request.query_params.items() if value}
    wanted = Filter(asked.get("user"), asked.get("action"), asked.get("target"), True if "refused" in asked else None)
    async with desk.read(long=True, widely=True) as session:
        found, following = await audit.page(session, wanted, asked.get("cursor"), MOST_ENTRIES)
    return render(sight, "audit.html", here="", entries=found, asked=asked, following=following)


@router.get("/settings")
async def settings(desk: ToSee, request: Request) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        found = await keys.list_(session, desk.caller, everybodys=False)
        used = await quotas.used(session, desk.caller.tenant, None, desk.yard.context, sight.now)
        told = [
            (
                channel,
                channels.may_change(desk.caller, channel),
                (await deliveries.page(session, channel, None, SENT))[0],
            )
            for channel in await channels.list_(session, desk.caller)
        ]
    return render(
        sight,
        "settings.html",
        here="",
        keys=[key for key in found if key.revoked_at is None],
        used=used,
        channels=told,
        occasions=list(Occasion),
        usual=USUAL,
    )
