"""Messages through Apprise, each by a process of its own: see `announcer`."""

import json
from collections.abc import Mapping
from typing import Any

from runyard.domain import notices
from runyard.domain.notices import Outcome
from runyard.services import asides
from runyard.services.outbound import Outbound

MODULE = "runyard.services.announcer"
SECONDS = 45.0
NO_HOME = "/nonexistent"
"""What the server's user keeps there, such as passwords in .netrc, is none of its business."""


class AnnounceError(Exception):
    """The message says what is wrong with an address."""


async def check(url: str) -> str:
    """The name of the service that an address is of. Raises AnnounceError."""
    answer = await _ask({"url": url, "allowed": []})
    if answer["error"]:
        raise AnnounceError(answer["error"])
    return str(answer["service"])


async def send(outbound: Outbound, url: str, body: Mapping[str, Any]) -> Outcome:
    """Never raises."""
    order = {"title": notices.title(body), "body": notices.text(body), "mood": notices.mood(body)}
    try:
        answer = await _ask({"url": url, "allowed": list(outbound.allowed), **order})
    except AnnounceError as error:
        return Outcome(delivered=False, error=str(error))
    return Outcome(delivered=answer["error"] is None, error=answer["error"])


async def _ask(order: Mapping[str, Any]) -> dict[str, Any]:
    content = json.dumps(order).encode()
    try:
        ended = await asides.run(MODULE, environ={"HOME": NO_HOME}, seconds=SECONDS, content=content, cwd="/")
    except TimeoutError:
        raise AnnounceError(f"it took longer than {SECONDS:.0f} seconds") from None
    try:
        answer: dict[str, Any] = json.loads(ended.output)
    except ValueError:
        raise AnnounceError("what sends messages broke off") from None
    return answer
