"""Deliveries: what was or is to be sent to channels, and how it is sent."""

from collections.abc import Sequence

from runyard.db.database import Session
from runyard.db.queries import deliveries as queries
from runyard.db.tables import Channel, Delivery
from runyard.domain import notices
from runyard.domain.access import Caller
from runyard.domain.errors import NotFoundError, NotReadyError
from runyard.domain.notices import Outcome
from runyard.services import announcing, channels, pages, webhooks
from runyard.services.context import Context
from runyard.services.sealing import SealError

PREFIX = "msg"


async def page(
    session: Session, channel: Channel, cursor: str | None, limit: int
) -> tuple[Sequence[Delivery], str | None]:
    """Newest first, and the cursor of the next page. Raises InvalidError."""
    found = await queries.page(session, channel.id, pages.parse_cursor(cursor), limit + 1)
    return pages.cut(found, limit)


async def get(session: Session, delivery_id: str) -> tuple[Delivery, Channel]:
    """Raises NotFoundError."""
    if found := await queries.with_channel(session, delivery_id):
        return found
    hint = "`runyard channels deliveries NAME` shows which there are"
    raise NotFoundError(f"there is no delivery {delivery_id[:100]!r}", hint=hint)


async def test(session: Session, channel: Channel, caller: Caller, new_id: str, at: float) -> Delivery:
    """A message that tells of nothing; the engine sends it. Raises NotReadyError."""
    _require_on(channel)
    body = notices.message(notices.TEST, at, {"channel": channel.name, "user": caller.user})
    delivery = new(channel, notices.TEST, body, new_id, at)
    await queries.add(session, delivery)
    return delivery


def resend(delivery: Delivery, channel: Channel, at: float) -> None:
    """Now, as the very same message; if need be, with all its tries again. Raises NotReadyError."""
    _require_on(channel)
    delivery.status, delivery.tries, delivery.next_at = queries.PENDING, 0, at


def new(channel: Channel, type_: str, body: dict[str, object], new_id: str, at: float) -> Delivery:
    """To be sent at once."""
    return Delivery(
        id=PREFIX + new_id,
        tenant=channel.tenant,
        channel_id=channel.id,
        type=type_,
        body=body,
        status=queries.PENDING,
        tries=0,
        next_at=at,
        created_at=at,
    )


async def send(delivery: Delivery, channel: Channel, context: Context, now: float) -> Outcome:
    """One try. Never raises."""
    try:
        target = channels.target(channel, context)
    except SealError as error:
        return Outcome(delivered=False, error=f"where the channel leads to can't be read: {error}")
    if channel.kind == "apprise":
        return await announcing.send(context.outbound, target.url, delivery.body)
    return await webhooks.send(context.outbound, target.url, target.secrets(now), delivery.id, delivery.body, now)


def note(delivery: Delivery, channel: Channel, sent_to: bytes, outcome: Outcome, now: float, chance: float) -> None:
    """What became of a try, and when the next one is; `sent_to` is what the channel had `sealed` when it was made, and
    `chance` is from 0 to 1."""
    is_gone = outcome.gone and channel.sealed == sent_to  # else it leads somewhere else by now
    delivery.tries += 1
    delivery.tried_at, delivery.response_code, delivery.last_error = now, outcome.code, outcome.error
    pause = None if outcome.delivered or is_gone else notices.pause(delivery.tries, chance, outcome.retry_after)
    delivery.next_at = None if pause is None else now + pause
    delivery.status = "delivered" if outcome.delivered else "failed" if pause is None else queries.PENDING
    if outcome.delivered:
        delivery.delivered_at = now
    if is_gone:
        channel.enabled, channel.disabled_because = (
            False,
            "the receiver says that nobody wants to be told there any more",
        )


def give_up(delivery: Delivery, why: str) -> None:
    delivery.next_at, delivery.status, delivery.last_error = None, "failed", why


def _require_on(channel: Channel) -> None:
    if not channel.enabled:
        raise NotReadyError(
            f"the channel {channel.name} is switched off",
            hint=f"`runyard channels change {channel.name} --enable` switches it on",
        )
