"""The history: found by state, words and dates, sorted, and acted upon several at once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from runyard.db.queries import events
from runyard.db.queries import listing as counting
from runyard.domain.lifecycle import State
from runyard.domain.listing import Filter, Order, Sorting
from runyard.protocol.specs import SPEC_CLASSES
from runyard.server.api.listing import standings
from runyard.server.deps import ToSee
from runyard.server.web import shown, sparks
from runyard.server.web.frame import Sight, render
from runyard.services import listing

router = APIRouter()

PAGE = 50
TEXTS = {"q": "words", "user": "user", "kind": "kind", "model": "model", "tag": "tag", "experiment": "experiment"}
LONGEST = 200
COLUMNS = (("date", "Started"), ("duration", "Duration"), ("loss", "Best metric"), ("throughput", "Throughput"))


@router.get("/jobs")
async def show(desk: ToSee, request: Request) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    asked = {name: value for name, value in request.query_params.items() if value}
    states = [state for state in request.query_params.getlist("state") if state in set(State)]
    wanted = _filter(asked, states, sight)
    sorting = Sorting(
        Order(asked["sort"]) if asked.get("sort") in set(Order) else Order.DATE, asked.get("order") != "asc"
    )
    async with desk.read(long=True) as session:
        cursor = await events.last_id(session)
        found, following = await listing.page(session, wanted, asked.get("cursor"), PAGE, sorting)
        curves = await sparks.of_jobs(session, found)
        counts = await counting.counts(session, replace(wanted, states=None))
        everything = await counting.counts(session, Filter())
    places = await standings(desk, found)
    kept = {name: value for name, value in asked.items() if name not in ("cursor", "state", "sort", "order")}
    kept_states = [("state", state) for state in states]

    def address(**changes: Any) -> str:
        return _address({**kept, "sort": asked.get("sort"), "order": asked.get("order"), **changes}, kept_states)

    def with_state(state: str | None) -> str:
        return _address(
            {**kept, "sort": asked.get("sort"), "order": asked.get("order")}, [("state", state)] if state else []
        )

    return render(
        sight,
        "jobs.html",
        here="/jobs",
        cursor=cursor,
        rows=[shown.shown(job, sight.now, curves.get(job.id, ())) for job in found],
        waits={id_: standing.cause or "" for id_, standing in places.items()},
        following=address(cursor=following) if following else None,
        is_first="cursor" not in asked,
        first=address(),
        counts=counts,
        total=sum(counts.values()),
        everything=sum(everything.values()),
        asked=asked,
        states=states,
        address=address,
        with_state=with_state,
        sorting=sorting,
        columns=COLUMNS,
        kinds=list(SPEC_CLASSES),
        is_narrowed=bool(kept or states),
    )


def _filter(asked: Mapping[str, str], states: list[str], sight: Sight) -> Filter:
    texts: dict[str, Any] = {field: asked[name][:LONGEST] for name, field in TEXTS.items() if name in asked}
    return Filter(
        states or None, created_from=_day(asked.get("from"), sight), created_to=_day(asked.get("to"), sight, 1), **texts
    )


def _day(text: str | None, sight: Sight, later: int = 0) -> float | None:
    """The beginning of a day where the reader is; of one that many days later."""
    try:
        day = datetime.fromisoformat(text or "")
        return (day.replace(tzinfo=sight.zone) + timedelta(days=later)).timestamp()
    except (ValueError, OverflowError):
        return None


def _address(values: Mapping[str, Any], states: list[tuple[str, str]]) -> str:
    pairs = [(name, value) for name, value in values.items() if value] + states
    return "/jobs" + (f"?{urlencode(pairs)}" if pairs else "")
