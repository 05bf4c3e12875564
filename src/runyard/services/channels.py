"""Channels: where somebody wants to be told of what happens to jobs. Where to is kept sealed, and shown to nobody."""

import json
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from runyard.db.database import Session
from runyard.db.queries import channels as queries
from runyard.db.queries import events
from runyard.db.tables import Channel
from runyard.domain.access import Act, Caller, Owner
from runyard.domain.errors import ForbiddenError, InUseError, InvalidError, NotFoundError, NotReadyError
from runyard.protocol.notices import Occasion
from runyard.protocol.problems import Problem
from runyard.protocol.specs.run import NotifySpec
from runyard.services import announcing, outbound, sealing, webhooks
from runyard.services.context import Context
from runyard.services.outbound import Outbound, OutboundError
from runyard.services.sealing import SealError

Kind = Literal["apprise", "webhook"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST = 100
"""Of one tenant."""
OVERLAP_SECONDS = 86_400.0
"""So long the secret before signs, too, once there is a new one."""


@dataclass(frozen=True)
class Signing:
    """A secret; the one before the last is good for a while."""

    value: str
    until: float | None = None


@dataclass(frozen=True)
class Target:
    """What is kept sealed of a channel."""

    url: str
    signing: tuple[Signing, ...] = ()

    def secrets(self, now: float) -> list[str]:
        return [one.value for one in self.signing if one.until is None or one.until > now]


@dataclass(frozen=True)
class Address:
    """One that was checked; `shown` is as much of it as people may see."""

    kind: Kind
    url: str
    shown: str


@dataclass(frozen=True)
class Request:
    name: str
    address: Address
    of: Literal["user", "tenant"]
    states: Collection[Occasion]


async def check(kind: Kind, url: str, way: Outbound) -> Address:
    """Is it in a form that can be used, and does it lead to where it may? Raises InvalidError."""
    try:
        if kind == "apprise":
            return Address(kind, url, await announcing.check(url))
        parsed = outbound.checked(url)
        await way.addresses(parsed.host, parsed.port or (443 if parsed.scheme == "https" else 80))
    except (announcing.AnnounceError, OutboundError) as error:
        raise InvalidError("nobody can be told there", problems=[Problem(field="url", message=str(error))]) from None
    return Address(kind, url, f"{parsed.scheme}://{parsed.netloc.decode()}/…")


async def list_(session: Session, caller: Caller) -> Sequence[Channel]:
    return await queries.of_tenant(session, caller.tenant)


async def get(session: Session, caller: Caller, name: str) -> Channel:
    """Raises NotFoundError."""
    if found := await queries.named(session, caller.tenant, name):
        return found
    raise NotFoundError(f"there is no channel {name[:100]!r}", hint="`runyard channels list` shows which there are")


async def add(
    session: Session, caller: Caller, request: Request, context: Context, new_id: str, at: float
) -> tuple[Channel, str | None]:
    """A new one, and for a webhook the secret that signs. Raises InvalidError, InUseError, ForbiddenError."""
    _require_name(request.name)
    if request.of == "tenant":
        caller.require(Act.MANAGE)
    if await queries.named(session, caller.tenant, request.name):
        raise InUseError(f"there is a channel {request.name!r}", hint="choose another name, or change that one")
    if await queries.count(session, caller.tenant) >= MOST:
        raise InUseError(f"the tenant has {MOST} channels", hint="remove one that nobody needs any more")
    secret = _new_secret() if request.address.kind == "webhook" else None
    channel = Channel(
        id=new_id,
        tenant=caller.tenant,
        name=request.name,
        user=caller.user,
        of=request.of,
        kind=request.address.kind,
        states=list(request.states),
        shown=request.address.shown,
        after_event=await events.last_id(session),
        enabled=True,
        created_at=at,
        changed_at=at,
    )
    _seal(channel, Target(request.address.url, (Signing(secret),) if secret else ()), context)
    await queries.add(session, channel)
    return channel, secret


def kind_of(channel: Channel) -> Kind:
    return "apprise" if channel.kind == "apprise" else "webhook"


def change(channel: Channel, address: Address | None, states: Collection[Occasion] | None, context: Context) -> None:
    """Another address, or other states; None leaves them as they are. What signs stays. Raises NotReadyError."""
    if address is not None:
        try:
            signing = target(channel, context).signing
        except SealError as error:
            raise _unsealable(error) from None
        _seal(channel, Target(address.url, signing), context)
        channel.shown = address.shown
    if states is not None:
        channel.states = list(states)


async def switch(session: Session, channel: Channel, *, on: bool) -> None:
    """Of what happens while it is off it never tells."""
    if on and not channel.enabled:
        channel.after_event = await events.last_id(session)
    channel.enabled, channel.disabled_because = on, None


def rotate(channel: Channel, context: Context, now: float) -> str:
    """A new secret; the one before signs for another day, too. Raises NotReadyError and InvalidError."""
    if channel.kind != "webhook":
        raise InvalidError("only webhooks are signed", problems=[Problem(message="this channel is no webhook")])
    try:
        kept = target(channel, context)
    except SealError as error:
        raise _unsealable(error) from None
    secret = _new_secret()
    before = [
        Signing(one.value, min(one.until or now + OVERLAP_SECONDS, now + OVERLAP_SECONDS)) for one in kept.signing
    ]
    good = [one for one in before if one.until and one.until > now][:1]
    _seal(channel, Target(kept.url, (Signing(secret), *good)), context)
    return secret


async def remove(session: Session, channel: Channel) -> None:
    await queries.remove(session, channel)


def require_change(caller: Caller, channel: Channel) -> None:
    """One's own, and for admins all. Raises ForbiddenError."""
    if channel.of == "tenant":
        caller.require(Act.MANAGE)
    caller.require_change(channel.user if channel.of == "user" else caller.user, f"the channel {channel.name}")


def may_change(caller: Caller, channel: Channel) -> bool:
    try:
        require_change(caller, channel)
    except ForbiddenError:
        return False
    return True


def target(channel: Channel, context: Context) -> Target:
    """Raises SealError."""
    kept = json.loads(sealing.unseal(context.private_key, channel.sealed, "channel", channel.tenant, channel.id))
    return Target(kept["url"], tuple(Signing(**one) for one in kept["signing"]))


async def missing(session: Session, notify: NotifySpec | None, owner: Owner) -> list[Problem]:
    """What a job names that is no channel which may tell of it."""
    if notify is None:
        return []
    usable = {
        channel.name
        for channel in await queries.of_tenant(session, owner.tenant)
        if channel.of == "tenant" or channel.user == owner.user
    }
    return [
        Problem(field=f"notify.channels.{place}", message=f"there is no channel {name[:100]!r}: `runyard channels add`")
        for place, name in enumerate(notify.channels)
        if name not in usable
    ]


def _seal(channel: Channel, target: Target, context: Context) -> None:
    """Raises NotReadyError."""
    try:
        text = json.dumps(asdict(target))
        channel.sealed = sealing.seal(context.private_key, text, "channel", channel.tenant, channel.id)
    except SealError as error:
        raise _unsealable(error) from None


def _unsealable(error: SealError) -> NotReadyError:
    return NotReadyError(
        f"where the channel leads to can't be kept: {error}", hint="put the whole secret.key back, or make it anew"
    )


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        message = "must be a name of letters, digits and . _ -"
        raise InvalidError("the channel can't be made", problems=[Problem(field="name", message=message)])


def _new_secret() -> str:
    return webhooks.new_secret(secrets.token_bytes(webhooks.SECRET_BYTES))
