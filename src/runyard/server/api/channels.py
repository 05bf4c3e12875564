"""Channels: who is told of what happens to jobs, where, and what became of it."""

from fastapi import APIRouter

from runyard.db.tables import Channel
from runyard.schemas.channels import ChannelChange, ChannelMade, ChannelNew, ChannelRead, DeliveryRead
from runyard.schemas.page import Page
from runyard.server.api import failing
from runyard.server.deps import Cursor, Limit, ToSee, ToSubmit, new_id
from runyard.services import channels, deliveries

router = APIRouter(prefix="/channels", tags=["channels"])
sent = APIRouter(prefix="/deliveries", tags=["channels"])


@router.post("", status_code=201, operation_id="create_channel", responses=failing(400, 409, 413, 415))
async def create(desk: ToSubmit, ask: ChannelNew) -> ChannelMade:
    """A webhook's answer has the secret that its messages are signed with: it is shown this once."""
    yard = desk.yard
    address = await channels.check(ask.kind, ask.url, yard.context.outbound)
    request = channels.Request(ask.name, address, ask.of, ask.states)
    async with desk.write(ask.name) as session:
        channel, secret = await channels.add(session, desk.caller, request, yard.context, new_id(), yard.clock())
    return _made(channel, secret)


@router.get("", operation_id="list_channels")
async def list_(desk: ToSee) -> Page[ChannelRead]:
    """The tenant's, by name; where they lead to is not shown."""
    async with desk.read() as session:
        found = await channels.list_(session, desk.caller)
    return Page(items=[ChannelRead.model_validate(channel) for channel in found])


@router.get("/{name}", operation_id="get_channel", responses=failing(404))
async def show(desk: ToSee, name: str) -> ChannelRead:
    """One by its name."""
    async with desk.read() as session:
        return ChannelRead.model_validate(await channels.get(session, desk.caller, name))


@router.patch("/{name}", operation_id="change_channel", responses=failing(400, 404, 409, 413, 415))
async def change(desk: ToSubmit, name: str, ask: ChannelChange) -> ChannelRead:
    """Another address, other states, on or off; for one's own, and for admins."""
    yard = desk.yard
    async with desk.read() as session:
        channel = await channels.get(session, desk.caller, name)
    channels.require_change(desk.caller, channel)
    address = ask.url and await channels.check(channels.kind_of(channel), ask.url, yard.context.outbound)
    async with desk.write(name) as session:
        channel = await channels.get(session, desk.caller, name)
        channels.require_change(desk.caller, channel)
        channels.change(channel, address or None, ask.states, yard.context)
        if ask.enabled is not None:
            await channels.switch(session, channel, on=ask.enabled)
        channel.changed_at = yard.clock()
    return ChannelRead.model_validate(channel)


@router.delete("/{name}", status_code=204, operation_id="remove_channel", responses=failing(404))
async def remove(desk: ToSubmit, name: str) -> None:
    """What was still to be sent there is not sent any more."""
    async with desk.write(name) as session:
        channel = await channels.get(session, desk.caller, name)
        channels.require_change(desk.caller, channel)
        await channels.remove(session, channel)


@router.post("/{name}/rotate", operation_id="rotate_channel_secret", responses=failing(404, 409))
async def rotate(desk: ToSubmit, name: str) -> ChannelMade:
    """A new secret for a webhook; the one before signs, too, for another day."""
    yard = desk.yard
    async with desk.write(name) as session:
        channel = await channels.get(session, desk.caller, name)
        channels.require_change(desk.caller, channel)
        secret = channels.rotate(channel, yard.context, yard.clock())
        channel.changed_at = yard.clock()
    return _made(channel, secret)


@router.post("/{name}/test", status_code=202, operation_id="test_channel", responses=failing(404, 409))
async def test(desk: ToSubmit, name: str) -> DeliveryRead:
    """Have a message sent that tells of nothing; its delivery says what becomes of it."""
    async with desk.write(name) as session:
        channel = await channels.get(session, desk.caller, name)
        channels.require_change(desk.caller, channel)
        delivery = await deliveries.test(session, channel, desk.caller, new_id(), desk.yard.clock())
    desk.yard.wake("work")
    return DeliveryRead.model_validate(delivery)


@router.get("/{name}/deliveries", operation_id="list_deliveries", responses=failing(404))
async def list_deliveries(desk: ToSee, name: str, cursor: Cursor = None, limit: Limit = 50) -> Page[DeliveryRead]:
    """What was or is to be sent to a channel, newest first; for thirty days."""
    async with desk.read() as session:
        channel = await channels.get(session, desk.caller, name)
        found, following = await deliveries.page(session, channel, cursor, limit)
    return Page(items=[DeliveryRead.model_validate(item) for item in found], next_cursor=following)


@sent.get("/{delivery_id}", operation_id="get_delivery", responses=failing(404))
async def show_delivery(desk: ToSee, delivery_id: str) -> DeliveryRead:
    """What became of one message."""
    async with desk.read() as session:
        delivery, _ = await deliveries.get(session, delivery_id)
    return DeliveryRead.model_validate(delivery)


@sent.post("/{delivery_id}/resend", status_code=202, operation_id="resend_delivery", responses=failing(404, 409))
async def resend(desk: ToSubmit, delivery_id: str) -> DeliveryRead:
    """The very same message once more, with the same id."""
    async with desk.write(delivery_id) as session:
        delivery, channel = await deliveries.get(session, delivery_id)
        channels.require_change(desk.caller, channel)
        deliveries.resend(delivery, channel, desk.yard.clock())
    desk.yard.wake("work")
    return DeliveryRead.model_validate(delivery)


def _made(channel: Channel, secret: str | None) -> ChannelMade:
    return ChannelMade(**ChannelRead.model_validate(channel).model_dump(), secret=secret)
