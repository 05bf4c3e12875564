"""The curve that shows why a job failed."""

import math

from runyard.server.web.evidence import drawn


def test_memory_stands_under_its_limit_and_begins_at_nothing() -> None:
    chart = drawn("GPU memory by step", "GB", [(1, 6.0), (2, 12.0), (3, 18.0)], limit=24.0)
    assert chart is not None
    assert chart.path == "M0.0 82.5L240.0 55.0L480.0 27.5"
    assert chart.limit == (0.0, "24.0 GB on the card")
    assert (chart.low, chart.high, chart.first, chart.last) == ("0.000", "24.000", "1", "3")
    assert chart.says == "GPU memory by step: highest 18.000 GB, 18.000 GB at step 3"
    assert chart.lost is None


def test_a_loss_that_is_none_any_more_is_marked_where_it_was_lost() -> None:
    chart = drawn("Loss by step", "", [(0, 2.0), (5, None), (10, 1.0), (15, None), (20, None)], None)
    assert chart is not None
    assert chart.path == "M0.0 0.0L240.0 110.0"
    assert chart.lost == 360.0, "where it went for good, not where it came back from"


def test_a_value_that_was_seen_once_is_no_curve() -> None:
    assert drawn("Loss by step", "", [], None) is None
    assert drawn("Loss by step", "", [(1, 2.0), (2, None), (3, math.inf)], None) is None


def test_one_that_never_changed_is_a_line() -> None:
    chart = drawn("Loss by step", "", [(4, 1.0), (4, 1.0)], None)
    assert chart is not None
    assert "nan" not in chart.path
