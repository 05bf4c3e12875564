"""What went on over the days, reckoned by hand."""

import pytest

from runyard.domain import trends
from runyard.domain.trends import DAY, End, Stay, Wait

MONDAY = 20_000 // 7 * 7 * DAY + 4 * DAY
"""A Monday in 2024, at midnight in UTC."""


def test_days_and_weeks_are_whole() -> None:
    days = trends.periods(MONDAY + 10, MONDAY + DAY + 1, "day")
    assert [(period.start, period.end) for period in days] == [(MONDAY, MONDAY + DAY), (MONDAY + DAY, MONDAY + 2 * DAY)]
    assert len(trends.periods(MONDAY, MONDAY + DAY, "day")) == 1, "the midnight after it is no part of it"
    weeks = trends.periods(MONDAY - 1, MONDAY + 1, "week")
    assert [period.start for period in weeks] == [MONDAY - 7 * DAY, MONDAY]


def test_an_attempt_counts_in_each_day_for_as_long_as_it_lasted_there() -> None:
    days = trends.periods(MONDAY, MONDAY + 2 * DAY, "day")
    stays = [
        # Two GPUs from 23:00 to 02:00: 2 GPU-hours on Monday, 4 on Tuesday.
        Stay("mia", 2, MONDAY + 23 * 3600, MONDAY + 26 * 3600),
        # One GPU since Tuesday 06:00, now it is 09:00: 3 GPU-hours.
        Stay("max", 1, MONDAY + 30 * 3600, None),
        Stay("max", 0, MONDAY, MONDAY + DAY),
    ]
    trends.fill(days, stays, [], [], now=MONDAY + 33 * 3600)
    assert [period.gpu_hours for period in days] == pytest.approx([2, 7])
    assert {name: share.gpu_hours for name, share in days[1].users.items()} == pytest.approx({"mia": 4, "max": 3})


def test_waits_and_ends_fall_into_the_day_of_their_end() -> None:
    days = trends.periods(MONDAY, MONDAY + 2 * DAY, "day")
    waits = [Wait("mia", MONDAY + 60, seconds) for seconds in (1.0, 2.0, 3.0, 4.0)] + [Wait("mia", MONDAY - 1, 99.0)]
    ends = [
        End("mia", MONDAY, "completed", None, 4.0),
        End("mia", MONDAY + 1, "completed", None, 6.0),
        End("max", MONDAY + 2, "failed", "disk_full", 100.0),
        End("max", MONDAY + DAY, "cancelled", None, None),
    ]
    trends.fill(days, [], waits, ends, now=MONDAY + DAY)
    first, second = days
    assert (first.ended, first.completed, first.throughput, dict(first.failures)) == (3, 2, 5.0, {"disk_full": 1})
    assert (second.ended, second.completed, second.throughput, dict(second.failures)) == (1, 0, None, {})
    assert (first.users["max"].ended, first.users["max"].failed) == (1, 1)
    assert [trends.percentile(first.waits, percent) for percent in (50, 95)] == [2.0, 4.0]
    assert trends.percentile([], 50) is None
