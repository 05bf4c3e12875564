"""What every page stands in: who looks, when, in which zone and theme; and how templates become HTML."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from runyard import __version__
from runyard.domain.access import Act, Caller
from runyard.domain.lifecycle import ACTIVE, State
from runyard.server import cookies
from runyard.server.web import states, words
from runyard.services import sessions

STATIC = Path(__file__).parent / "static"
THEMES = ("system", "light", "dark")
THEME, ZONE, LOOKED = "runyard_theme", "runyard_zone", "runyard_looked"
"""Cookies that the page's own script sets: nothing in them is believed further than what is shown."""
MOST_LOOKED = 60

PLACES = (("Overview", "/"), ("Jobs", "/jobs"), ("Data", "/data"), ("Templates", "/templates"))


@dataclass(frozen=True)
class Sight:
    """Who looks at a page, and when. `caller` is None for one that nobody is signed in to."""

    request: Request
    now: float
    caller: Caller | None = None

    @property
    def zone(self) -> ZoneInfo:
        return _zone(self.request.cookies.get(ZONE, "UTC"))

    @property
    def theme(self) -> str:
        asked = self.request.cookies.get(THEME, THEMES[0])
        return asked if asked in THEMES else THEMES[0]

    @property
    def looked(self) -> list[str]:
        """Ids of failed jobs that this browser has been shown, newest last."""
        return [id_ for id_ in self.request.cookies.get(LOOKED, "").split(".") if id_.isalnum()]

    def clock(self, at: float | None) -> str:
        return words.clock(at, self.now, self.zone)

    def exact(self, at: float) -> str:
        return words.exact(at, self.zone)

    def ago(self, at: float) -> str:
        return words.ago(self.now - at)

    def left(self, until: float | None) -> str:
        return words.duration(None if until is None else until - self.now)

    def may(self, act: str) -> bool:
        return self.caller is not None and self.caller.may(Act[act])

    def may_change(self, owner: str) -> bool:
        return self.may("SUBMIT") and self.caller is not None and (owner == self.caller.user or self.may("MANAGE"))

    @property
    def csrf(self) -> str:
        token = cookies.session_token(self.request)
        return sessions.csrf_token(token) if token and self.caller and self.caller.via == "session" else ""


def render(sight: Sight, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(text_of(sight, template, **values), status, headers={"Vary": "Cookie"})


def text_of(sight: Sight, template: str, **values: Any) -> str:
    """A page, or a part of one."""
    return _environment().get_template(template).render(sight=sight, **values)


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("runyard.server.web", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(words, name)
        for name in (
            "duration",
            "count",
            "value",
            "rate",
            "percent",
            "size",
            "gigabytes",
            "initials",
            "ticked",
            "quota",
            "amount",
            "breakable",
        )
    }
    environment.filters |= {"word": states.word, "cause": states.cause, "kind": states.kind}
    environment.globals |= {
        "version": __version__,
        "places": PLACES,
        "State": State,
        "ACTIVE": ACTIVE,
        "change": words.change,
        "static": _address,
    }
    return environment


@lru_cache
def static_version() -> str:
    """Of all static files together: scripts import each other by relative addresses, and must be found once."""
    sums = hashlib.sha256()
    for path in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        sums.update(path.read_bytes())
    return sums.hexdigest()[:12]


def _address(name: str) -> str:
    """Of a file of ours, with what tells its versions apart, so that browsers may keep it for ever."""
    return f"/static/{static_version()}/{name}"


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError):
        return ZoneInfo("UTC")
