"""Numbers and times as the page says them."""

import math
from zoneinfo import ZoneInfo

import pytest

from runyard.server.web import words

BERLIN = ZoneInfo("Europe/Berlin")
NOW = 1_795_354_320.0  # 22 November 2026, 14:32 in Berlin, a Sunday


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"), (41.4, "41 s"), (39 * 60.0, "39 min"), (2 * 3600 + 48 * 60.0, "2 h 48"), (3600 + 59.0, "1 h 01"),
        (86400 + 4 * 3600.0, "1 d 4 h"), (-5.0, "0 s"), (None, "—"), (math.inf, "—"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("before", "said"), [(0.0, "14:32"), (3 * 86400.0 + 3600, "Thu 13:32"), (8 * 86400.0, "14 Nov 2026")]
)
def test_clock_times_grow_coarser(before: float, said: str) -> None:
    assert words.clock(NOW - before, NOW, BERLIN) == said
    assert words.clock(None, NOW, BERLIN) == "—"


def test_the_zone_decides_which_day_it_is() -> None:
    late = NOW + 10 * 3600  # 0:32 of the next day in Berlin
    assert words.clock(NOW, late, BERLIN) == "Sun 14:32"
    assert words.clock(NOW, late, ZoneInfo("UTC")) == "13:32"
    assert words.exact(NOW, BERLIN) == "22 Nov 2026 14:32:00 CET"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0.8421, "0.842"), (0.0, "0.000"), (-1.5, "−1.500"), (1.05e-4, "1.05e-4"), (1234.56, "1,234.6"),
        (123456.0, "123,456"), (None, "—"), (math.nan, "NaN"), (math.inf, "∞"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_values(number: float | None, said: str) -> None:
    assert words.value(number) == said


def test_changes_have_a_real_minus_and_say_when_there_is_none() -> None:
    assert words.change(0.861, 0.898) == "−4.1\u2009%"
    assert words.change(1.1, 1.0) == "+10.0\u2009%"
    assert words.change(1.0, 1.0) == "± 0"
    assert [words.change(*pair) for pair in ((None, 1.0), (1.0, None), (1.0, 0.0))] == ["", "", ""]


def test_sizes_rates_parts_and_initials() -> None:
    assert [words.size(n) for n in (0, 999, 1500, 162_400_000, 2_500_000_000, None)] == [
        "0 B", "999 B", "2 kB", "162 MB", "2.5 GB", "—",
    ]  # fmt: skip
    assert [words.rate(n) for n in (8412.3, 12.34, 0.567, None)] == ["8,412", "12.3", "0.57", "—"]
    assert [words.percent(n) for n in (0.52, 0.0, 0.034, None)] == ["52\u2009%", "0\u2009%", "3.4\u2009%", "—"]
    assert [words.initials(n) for n in ("mara klein", "mara.klein@lab.org", "otto")] == ["MK", "MK", "OT"]


def test_what_is_between_backticks_is_code_and_nothing_else_is_markup() -> None:
    assert words.ticked("see `jobs logs <JOB>` & <b>") == "see <code>jobs logs &lt;JOB&gt;</code> &amp; &lt;b&gt;"


@pytest.mark.parametrize(("seconds", "said"), [(2.031, "2.03 s"), (0.1, "0.10 s"), (0.0042, "4 ms")])
def test_paces(seconds: float, said: str) -> None:
    assert words.pace(seconds) == said


def test_a_dotted_name_may_go_on_in_the_next_line() -> None:
    assert words.breakable("training.max_<b>") == "training.<wbr>max_<wbr>&lt;b&gt;"


@pytest.mark.parametrize(
    ("number", "name", "said"),
    [(3, "waiting", "3"), (1.5, "gpu_hours", "1.50"), (2_000_000, "stored_bytes", "2.0 MB"), (12.0, "money", "12")],
)
def test_amounts_of_a_quota(number: float, name: str, said: str) -> None:
    assert words.amount(number, name) == said
