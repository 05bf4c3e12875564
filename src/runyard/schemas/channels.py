"""Channels, and what was sent to them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from runyard.protocol.notices import USUAL, Occasion, Occasions
from runyard.schemas.jobs import Read
from runyard.schemas.people import Ask, Name, Text

Url = Annotated[Text, Field(min_length=1, max_length=4000)]


class ChannelNew(Ask):
    name: Name
    kind: Literal["apprise", "webhook"]
    url: Url
    """For Apprise such as `slack://…` or `mailtos://…`; for a webhook an http address. It is not shown again."""
    of: Literal["user", "tenant"] = "user"
    """Of whose jobs it tells: yours, or all of the tenant's, which takes an admin."""
    states: Occasions = Field(default_factory=lambda: list(USUAL))
    """Of what it tells; nothing but what jobs name it for, where it is empty. `needs_you` is failed, stalled and
    never_starts."""


class ChannelChange(Ask):
    """What is left out stays."""

    url: Url | None = None
    states: Occasions | None = None
    enabled: bool | None = None
    """Of what happens while it is off it never tells."""


class ChannelRead(Read):
    name: str
    kind: str
    of: str
    user: str
    """Who made it."""
    states: list[Occasion]
    shown: str
    """Where it leads to, as far as that is shown: the service, or the host."""
    enabled: bool
    disabled_because: str | None
    """Why, where nobody has switched it off."""
    created_at: float
    changed_at: float


class ChannelMade(ChannelRead):
    secret: str | None = None
    """What a webhook's signatures are made with. It is shown this once."""


class DeliveryRead(Read):
    id: str
    """The `webhook-id`; the same however often it is sent."""
    type: str
    job_id: str | None
    status: str
    """`pending`, `delivered` or `failed`."""
    tries: int
    next_at: float | None
    """When it is tried next; null when it is not any more."""
    response_code: int | None
    last_error: str | None
    body: dict[str, Any]
    created_at: float
    tried_at: float | None
    delivered_at: float | None
