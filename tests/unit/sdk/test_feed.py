"""One watch over outages: every entry once, in order; patience with an end."""

import json

import pytest

from runyard.schemas.jobs import EventRead
from runyard.sdk.errors import NoServerError
from runyard.sdk.feed import LONGEST_PAUSE, Feed


def wire(number: int, type_: str = "message") -> list[str]:
    data = json.dumps({"id": number, "job_id": "a", "at": 1.0, "type": type_, "data": {}})
    return [f"id: {number}", f"event: {type_}", f"data: {data}", ""]


def read(feed: Feed, *blocks: list[str]) -> list[int]:
    entries: list[EventRead | None] = [feed.take(line) for block in blocks for line in block]
    return [entry.id for entry in entries if entry]


def feed(patience: float | None = 10.0) -> Feed:
    return Feed("http://here", "a", 0, patience)


def test_it_asks_on_from_its_cursor() -> None:
    watch = feed()
    assert watch.call().params == {"after": 0}
    assert read(watch, wire(3), wire(5)) == [3, 5]
    assert watch.call().params == {"after": 5}


def test_what_was_seen_before_a_break_is_not_seen_again() -> None:
    watch = feed()
    assert read(watch, wire(1), wire(2), wire(3)[:2]) == [1, 2]
    watch.call()
    assert read(watch, wire(2), wire(3), wire(4)) == [3, 4]


def test_signs_of_life_and_unknown_fields_are_passed_over() -> None:
    assert read(feed(), [": keep-alive", ""], ["retry: 100"], wire(1)) == [1]


def test_it_asks_on_from_where_the_server_began() -> None:
    """What happens while it is away is not missed, though it was cut off before the first entry."""
    watch = Feed("http://here", None, "latest", None)
    assert read(watch, ["retry: 1000", "id: 7", ""]) == []
    assert watch.call().params == {"after": 7}
    assert read(watch, ["retry: 1000", "id: 7", ""], wire(8)) == [8]


def test_data_in_several_lines_are_one() -> None:
    watch = feed()
    whole = json.dumps({"id": 1, "job_id": "a", "at": 1.0, "type": "message", "data": {}}, indent=1)
    assert read(watch, ["id: 1", *(f"data: {line}" for line in whole.splitlines()), ""]) == [1]


def test_it_ends_with_the_job() -> None:
    watch = feed()
    assert read(watch, wire(1), ["event: end", "data: {}", ""]) == [1]
    assert watch.ended


def test_pauses_grow_to_a_limit() -> None:
    watch = feed(patience=None)
    pauses = [watch.pause("refused", now=float(n)) for n in range(20)]
    assert pauses[0] <= 0.2
    assert all(LONGEST_PAUSE / 2 <= pause <= LONGEST_PAUSE for pause in pauses[8:])


def test_a_server_gone_for_good_is_told_from_a_short_outage() -> None:
    watch = feed(patience=10)
    watch.pause("refused", now=100.0)
    watch.pause("refused", now=109.0)
    read(watch, wire(1))
    watch.pause("refused", now=111.0)
    watch.pause("refused", now=120.0)
    with pytest.raises(NoServerError, match="no server answers at http://here"):
        watch.pause("refused", now=121.0)
