"""When a schedule is due: nights when clocks change, times that were missed, lines that make no sense."""

import time
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.domain import schedules
from runyard.domain.errors import InvalidError
from runyard.domain.schedules import When

BERLIN = "Europe/Berlin"
NOW = datetime(2026, 11, 22, tzinfo=UTC).timestamp()


def at(text: str, zone: str = BERLIN) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()


def runs(line: str, first: str, last: str, zone: str = BERLIN) -> list[str]:
    """All times of a line between two moments, as an engine finds them: each from the one before."""
    now, end, found = at(first, zone), at(last, zone), []
    when = When(line, None, zone)
    while (following := when.after(now)) is not None and following < end:
        assert following > now
        now = following
        found.append(datetime.fromtimestamp(now, ZoneInfo(zone)).isoformat())
    return found


def test_a_time_that_does_not_exist_runs_once_right_after_the_gap() -> None:
    assert runs("30 2 * * *", "2026-03-28T12:00", "2026-03-31T00:00") == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_comes_twice_runs_at_its_first_coming() -> None:
    expected = ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    assert runs("30 2 * * *", "2026-10-24T12:00", "2026-10-27T00:00") == expected


@pytest.mark.parametrize("now", ["2026-10-25T02:10+01:00", "2026-10-25T02:30+01:00", "2026-10-25T02:50+01:00"])
def test_a_server_started_in_the_hour_that_comes_twice_does_not_run_it_again(now: str) -> None:
    following = When("30 2 * * *", None, BERLIN).after(at(now))
    assert following == at("2026-10-26T02:30+01:00")


def test_a_line_by_the_clock_runs_through_the_hour_that_comes_twice() -> None:
    assert len(runs("*/30 * * * *", "2026-10-25T00:00", "2026-10-26T00:00")) == 49
    assert len(runs("*/30 * * * *", "2026-03-29T00:00", "2026-03-30T00:00")) == 45


@settings(max_examples=25, deadline=None)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    zone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC"]),
    year=st.integers(2024, 2030),
)
def test_a_daily_line_runs_once_on_every_day_of_every_year(minute: int, hour: int, zone: str, year: int) -> None:
    found = runs(f"{minute} {hour} * * *", f"{year}-01-01T00:00+00:00", f"{year + 1}-01-01T00:00+00:00", zone)
    days = [date.fromisoformat(text[:10]).toordinal() for text in found]
    assert days == list(range(days[0], days[0] + len(days)))
    assert len(days) >= 364


def test_what_was_missed_is_one_run_and_then_on_from_now() -> None:
    when = When("0 * * * *", None, "UTC")
    assert when.after(NOW + 90_000) == NOW + 93_600


@given(st.floats(0, 4e9))
def test_one_time_is_due_until_it_has_come(now: float) -> None:
    when = When(None, NOW, "UTC")
    assert when.after(now) == (NOW if now < NOW else None)


def test_a_full_queue_delays_one_time_and_skips_one_of_many() -> None:
    assert When(None, NOW - 1, "UTC").to_retry(NOW) == NOW + schedules.RETRY_SECONDS
    assert When("0 2 * * *", None, "UTC").to_retry(NOW) == NOW + 7200


def test_times_are_read_in_the_zone_unless_they_say_their_own() -> None:
    assert schedules.parse(None, "2026-12-01T02:00", BERLIN, NOW)[1] == at("2026-12-01T01:00+00:00")
    assert schedules.parse(None, "2026-12-01T02:00Z", BERLIN, NOW)[1] == at("2026-12-01T02:00+00:00")
    when, first = schedules.parse("  0  2 * *   MON-FRI ", None, BERLIN, NOW)
    assert (when.cron, first) == ("0 2 * * MON-FRI", at("2026-11-23T02:00"))


@pytest.mark.parametrize(
    ("ask", "field", "words"),
    [
        ({}, "cron", "either"),
        ({"cron": "0 2 * * *", "at": "2027-01-01"}, "cron", "either"),
        ({"cron": "0 2 * *"}, "cron", "5 fields"),
        ({"cron": "0 0 2 * * *"}, "cron", "5 fields"),
        ({"cron": "@daily"}, "cron", "5 fields"),
        ({"cron": "0 25 * * *"}, "cron", "the hour in '0 25"),
        ({"cron": "61 2 * * *"}, "cron", "the minute"),
        ({"cron": "0 2 0 * *"}, "cron", "the day of month"),
        ({"cron": "0 2 * 13 *"}, "cron", "the month"),
        ({"cron": "0 2 * * 9"}, "cron", "the day of week"),
        ({"cron": "0 0 30 2 *"}, "cron", "day of month"),
        ({"cron": "0 0 */30 2 1#2"}, "cron", "never"),
        ({"cron": "*/0 * * * *"}, "cron", "the minute"),
        ({"cron": "\0 * * * *"}, "cron", "the minute"),
        ({"cron": "² * * * *"}, "cron", "the minute"),
        ({"cron": "*/1," * 500 + "* * * * *"}, "cron", "5 fields"),
        ({"cron": "9" * 90 + " * * * *"}, "cron", "the minute"),
        ({"at": "tomorrow"}, "at", "no time"),
        ({"at": "2026-11-21T00:00"}, "at", "has passed"),
        ({"at": "0001-01-01T00:00+14:00"}, "at", ""),
        ({"at": "9999-12-31T23:59-14:00"}, None, ""),
        ({"at": "2027-01-01", "timezone": "Mars/Base"}, "timezone", "'Mars/Base' is no time zone"),
        ({"at": "2027-01-01", "timezone": "../../etc/passwd"}, "timezone", "no time zone"),
        ({"at": "2027-01-01", "timezone": "Europe"}, "timezone", "no time zone"),
        ({"at": "2027-01-01", "timezone": "x\0"}, "timezone", "no time zone"),
        ({"at": "2027-01-01", "timezone": ""}, "timezone", "no time zone"),
        ({"at": "2027-01-01", "timezone": "x" * 10_000}, "timezone", "no time zone"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_field_at_once(ask: dict[str, Any], field: str | None, words: str) -> None:
    began = time.process_time()
    asked = {"cron": None, "at": None, "timezone": "UTC"} | ask
    if field is None:
        schedules.parse(**asked, now=NOW)
    else:
        with pytest.raises(InvalidError) as refusal:
            schedules.parse(**asked, now=NOW)
        [problem] = refusal.value.problems
        assert problem.field == field
        assert words in problem.message
        assert len(problem.message) < 400
    assert time.process_time() - began < 0.1


@given(st.text(alphabet="0123456789*/,-L#W MONFEB", max_size=100))
def test_no_line_takes_long_or_breaks_anything(line: str) -> None:
    began = time.process_time()
    try:
        _, first = schedules.parse(line, None, BERLIN, NOW)
        assert first > NOW
    except InvalidError:
        pass
    assert time.process_time() - began < 0.5
