"""Who is told of what: what an event of the feed is to people, whose channels tell of it, in which words, and when a
message that did not get through is tried again."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from runyard.protocol.notices import Occasion

PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
"""Seconds after each try that failed: nine tries in about 18 hours."""
JITTER = 0.2
LONGEST_PAUSE = 86_400.0
TEST = "channel.test"
STATE_TYPE, QUEUE_TYPE = "state", "queue"
FEED_TYPES = (STATE_TYPE, "message", QUEUE_TYPE)
LAST_MOMENT = 253_402_300_799.0
"""The end of the year 9999: a trainer's clock may say anything."""
KNOWN = frozenset(Occasion)
BLANKS = re.compile(r"[\s\x00-\x1f\x7f\u2028\u2029]+")
LONGEST_TITLE, LONGEST_TEXT = 150, 1000
GOOD, BAD = frozenset({Occasion.COMPLETED}), frozenset({Occasion.FAILED, Occasion.STALLED, Occasion.NEVER_STARTS})


@dataclass(frozen=True)
class Outcome:
    """What became of one try. `gone` says that nobody wants to be told there any more."""

    delivered: bool
    code: int | None = None
    error: str | None = None
    retry_after: float | None = None
    gone: bool = False


@dataclass(frozen=True)
class Subscription:
    """A channel, as far as it decides who is told."""

    name: str
    user: str
    of: Literal["user", "tenant"]
    states: Collection[str]
    after_event: int


@dataclass(frozen=True)
class Happening:
    """An event of the feed, of which somebody may want to hear; `channels` and `states` are what the job says."""

    event_id: int
    occasion: Occasion
    user: str
    channels: Collection[str] = field(default_factory=tuple)
    states: Collection[str] = field(default_factory=tuple)


def occasion(type_: str, data: Mapping[str, Any]) -> Occasion | None:
    """What an event of the feed is to people; None for most."""
    word = data.get("after" if type_ == STATE_TYPE else "notice")
    if type_ == QUEUE_TYPE:
        word = Occasion.NEVER_STARTS if data.get("never") else None
    return Occasion(word) if type_ in FEED_TYPES and isinstance(word, str) and word in KNOWN else None


def tells(channel: Subscription, what: Happening) -> bool:
    """Of jobs that are its own, where it or the job says so; never of what was before it."""
    if what.event_id <= channel.after_event or (channel.of == "user" and channel.user != what.user):
        return False
    return what.occasion in channel.states or (channel.name in what.channels and what.occasion in what.states)


def message(type_: str, at: float, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a webhook is sent."""
    known = at if 0 <= at <= LAST_MOMENT else 0.0
    moment = datetime.fromtimestamp(known, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": type_, "timestamp": moment, "data": dict(data)}


def about(job: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a job, from what the feed says; nothing that a receiver need not know."""
    told = {name: data.get(name) for name in ("before", "cause", "attempt", "reason", "message")}
    told["message"] = told["message"] or data.get("text") or data.get("wait_cause")
    return {"job": dict(job), "state": data.get("after"), **told}


def pause(tries: int, chance: float, retry_after: float | None) -> float | None:
    """Seconds until the next try after so many that failed, None if it was the last; `chance` is from 0 to 1."""
    if tries > len(PAUSES):
        return None
    usual = PAUSES[tries - 1] * (1 + JITTER * (2 * chance - 1))
    return max(usual, min(retry_after or 0.0, LONGEST_PAUSE))


def title(body: Mapping[str, Any]) -> str:
    """One line for people, such as `orders failed`."""
    if body["type"] == TEST:
        return "A test of this channel"
    job, what = body["data"]["job"], body["type"].removeprefix("job.")
    words = {"stalled": "has stalled", "never_starts": "can't start"}.get(what, f"is {what}")
    words = {"failed": "failed", "completed": "is done", "cancelled": "was cancelled"}.get(what, words)
    return _plain(f"{job['name']} {words}", LONGEST_TITLE)


def text(body: Mapping[str, Any]) -> str:
    if body["type"] == TEST:
        return "If you read this, messages get through."
    data = body["data"]
    job = data["job"]
    lines = [
        _plain(data.get("message") or "", LONGEST_TEXT),
        _plain(f"Reason: {data['reason']}", LONGEST_TITLE) if data.get("reason") else "",
        f"Job {job['id']} ({job['kind']}) of {job['user']}"
        + (f", attempt {data['attempt']}" if data["attempt"] else ""),
    ]
    return "\n".join(filter(None, lines))


def mood(body: Mapping[str, Any]) -> Literal["success", "failure", "info"]:
    what = body["type"].removeprefix("job.")
    return "success" if what in GOOD else "failure" if what in BAD else "info"


def _plain(text: str, longest: int) -> str:
    """One line, whatever a job was named."""
    return BLANKS.sub(" ", text).strip()[:longest]
