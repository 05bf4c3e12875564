"""Being told of what happens to jobs: channels, and what was sent to them."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from runyard.schemas.channels import ChannelMade, ChannelRead, DeliveryRead
from runyard.schemas.page import Page
from runyard.sdk import calls
from runyard.sdk.calls import API, Call


def channels() -> Call[Page[ChannelRead]]:
    """The tenant's, by name."""
    return calls.get(f"{API}/channels", Page[ChannelRead])


def channel(name: str) -> Call[ChannelRead]:
    return calls.get(_channel(name), ChannelRead)


def add_channel(
    name: str, kind: str, url: str, *, of: str = "user", states: Sequence[str] | None = None
) -> Call[ChannelMade]:
    """`kind` is `apprise` or `webhook`; `of` is `user` for your jobs or `tenant` for all, which takes an admin.

    `states` are those that it tells of: states of jobs, `stalled`, `never_starts`, or `needs_you` for what somebody has
    to see to. The answer has the `secret` that a webhook's messages are signed with, this once.
    """
    body: dict[str, Any] = {"name": name, "kind": kind, "url": url, "of": of}
    if states is not None:
        body["states"] = list(states)
    return Call("POST", f"{API}/channels", calls.parser(ChannelMade), body=body)


def change_channel(
    name: str, *, url: str | None = None, states: Sequence[str] | None = None, enabled: bool | None = None
) -> Call[ChannelRead]:
    """What is None stays as it is."""
    asked = {"url": url, "states": None if states is None else list(states), "enabled": enabled}
    body = {field: value for field, value in asked.items() if value is not None}
    return Call("PATCH", _channel(name), calls.parser(ChannelRead), body=body)


def remove_channel(name: str) -> Call[None]:
    """What was still to be sent there is not sent any more."""
    return Call("DELETE", _channel(name), calls.nothing)


def rotate_channel_secret(name: str) -> Call[ChannelMade]:
    """A new secret for a webhook; the one before signs, too, for another day."""
    return Call("POST", f"{_channel(name)}/rotate", calls.parser(ChannelMade))


def test_channel(name: str) -> Call[DeliveryRead]:
    """Have a message sent that tells of nothing; `delivery` says what becomes of it."""
    return Call("POST", f"{_channel(name)}/test", calls.parser(DeliveryRead))


def deliveries(name: str, *, cursor: str | None = None, limit: int = 50) -> Call[Page[DeliveryRead]]:
    """What was or is to be sent to a channel, newest first."""
    return calls.get(f"{_channel(name)}/deliveries", Page[DeliveryRead], calls.given(cursor=cursor, limit=limit))


def delivery(delivery_id: str) -> Call[DeliveryRead]:
    return calls.get(f"{API}/deliveries/{quote(delivery_id, safe='')}", DeliveryRead)


def resend_delivery(delivery_id: str) -> Call[DeliveryRead]:
    """The very same message once more, with the same id."""
    return Call("POST", f"{API}/deliveries/{quote(delivery_id, safe='')}/resend", calls.parser(DeliveryRead))


def _channel(name: str) -> str:
    return f"{API}/channels/{quote(name, safe='')}"
