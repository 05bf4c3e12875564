"""Curves: nothing that a screen should show is lost when they are thinned, packed or smoothed."""

import math
from array import array

import pytest

from runyard.domain import curves, packing
from runyard.domain.curves import Stay
from runyard.domain.packing import Line, Stored
from runyard.domain.rollups import Tally


def line(values: "list[float | None]", step: int = 1, first: int = 1) -> Line:
    made = Line()
    for n, value in enumerate(values):
        made.add(first + n * step, 100.0 + n, value)
    return made


def test_as_many_buckets_as_points_show_each_point() -> None:
    shown = curves.thinned(line([3.0, 1.0, 2.0]), 3)
    assert (shown.step, shown.min, shown.max, shown.last) == ([1, 2, 3], [3, 1, 2], [3, 1, 2], [3, 1, 2])
    assert shown.at == [100, 101, 102]
    assert shown.smooth == []


def test_a_bucket_has_its_lowest_highest_and_last_value() -> None:
    # Steps 1 to 6 in two buckets: 1, 2, 3 and 4, 5, 6.
    shown = curves.thinned(line([5.0, 9.0, 7.0, 1.0, 4.0, 2.0]), 2)
    assert (shown.step, shown.min, shown.max, shown.last) == ([3, 6], [5, 1], [9, 4], [7, 2])


def test_a_spike_among_a_hundred_thousand_is_seen() -> None:
    values: list[float | None] = [1.0] * 100_000
    values[77_777], values[12_345] = 50.0, -50.0
    shown = curves.thinned(line(values), 200)
    assert len(shown.step) == 200
    assert (max(v for v in shown.max if v is not None), min(v for v in shown.min if v is not None)) == (50, -50)


def test_what_is_not_finite_stays_a_gap_of_its_own() -> None:
    # Buckets of three: 1, null, 3; null, null, null; 7, 8, null.
    shown = curves.thinned(line([1.0, None, 3.0, None, None, None, 7.0, 8.0, None]), 3)
    assert shown.step == [2, 3, 6, 8, 9]
    assert shown.last == [None, 3, None, 8, None]
    assert shown.min == [None, 1, None, 7, None]
    assert shown.max == [None, 3, None, 8, None]


def test_buckets_are_as_many_steps_wide_however_many_points_fall_into_them() -> None:
    made = Line()
    for step in (1, 2, 3, 4, 100):
        made.add(step, 0.0, float(step))
    # A hundred steps in two buckets: 1 to 50, and 51 to 100.
    shown = curves.thinned(made, 2)
    assert (shown.step, shown.max) == ([4, 100], [4, 100])


def test_chosen_places_are_few_and_hold_the_extremes_and_a_gap() -> None:
    values: list[float | None] = [0.5] * 1000
    values[10], values[20], values[30] = 9.0, -9.0, None
    places = curves.chosen(line(values), 40)
    assert {10, 20, 30, 999} <= set(places)
    assert len(places) <= 40
    assert curves.chosen(line([1.0, None]), 2) == [0, 1]


def test_the_average_has_no_bias_at_its_beginning() -> None:
    # Weight 0.5: 4; then (0.5 * 0.5 * 4 + 0.5 * 2) / 0.75 = 8/3; then
    # ((0.5 * 0.5 * 4 + 0.5 * 2) * 0.5 + 0.5 * 6) / 0.875 = 4 / 0.875.
    assert list(curves.smoothed(line([4.0, 2.0, 6.0]), 0.5, 1.0)) == pytest.approx([4, 8 / 3, 4 / 0.875])
    assert list(curves.smoothed(line([7.0] * 50), 0.99, 1.0)) == pytest.approx([7.0] * 50)


def test_what_is_farther_away_weighs_less() -> None:
    made = Line()
    for step, value in ((0, 4.0), (2, 2.0)):
        made.add(step, 0.0, value)
    # Two steps of 1 away, the weight of what was before is 0.25: (0.25 * 0.5 * 4 + 0.75 * 2) / (0.25 * 0.5 + 0.75).
    assert curves.smoothed(made, 0.5, 1.0)[1] == pytest.approx(2.0 / 0.875)


def test_a_gap_stays_one_in_the_average_and_weighs_nothing() -> None:
    smooth = curves.smoothed(line([4.0, None, 4.0]), 0.5, 1.0)
    assert math.isnan(smooth[1])
    assert (smooth[0], smooth[2]) == (4, 4)


@pytest.mark.parametrize("weight", [0.6, 0.9, 0.99])
def test_an_average_that_begins_late_enough_is_the_same(weight: float) -> None:
    whole = line([math.sin(n / 7) for n in range(5000)])
    back = curves.memory(weight)
    late = Line(whole.steps[4000 - back :], whole.numbers[4000 - back :], whole.clocks)
    assert curves.smoothed(late, weight, 1.0)[back] == pytest.approx(
        curves.smoothed(whole, weight, 1.0)[4000], abs=1e-7
    )


def test_seconds_at_work_leave_out_what_lies_between_attempts() -> None:
    stays = [Stay(100, 110), Stay(500, None)]
    assert [curves.running_seconds(stays, at) for at in (90, 105, 300, 500, 507)] == [0, 5, 10, 10, 17]


@pytest.mark.parametrize("stride", [1, 7], ids=str)
def test_what_is_packed_comes_back_as_it_was(stride: int) -> None:
    points = [
        (10 + n * stride, 1e9 + n / 8, {"loss": None if n == 3 else n / 3, **({"rare": 1.0} if n in (2, 5, 9) else {})})
        for n in range(12)
    ]
    block = packing.pack(points)
    assert (block.first_step, block.last_step) == (10, 10 + 11 * stride)
    for name in ("loss", "rare"):
        packed, back = block.columns[name], Line()
        stored = (packed.stride, packed.steps, packed.times, packed.numbers, packed.began_at)
        packing.extend(back, Stored(block.first_step, *stored))
        expected = [(step, at, values[name]) for step, at, values in points if name in values]
        found = [
            (step, back.at(where), None if math.isnan(number) else number)
            for where, (step, number) in enumerate(zip(back.steps, back.numbers, strict=True))
        ]
        assert found == expected
    assert block.columns["loss"].steps is None, "even steps need not be written down"
    assert block.columns["rare"].steps is not None


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [None, 3.0, 1.0, None], [None]], ids=str)
def test_what_a_line_comes_to_is_what_its_points_do(values: list[float | None]) -> None:
    one_by_one = Tally()
    for n, value in enumerate(values):
        one_by_one.take(n + 1, value)
    assert packing.tally(line(values)) == one_by_one


def test_lines_of_several_blocks_know_when_each_point_came() -> None:
    whole = Line()
    for first, since in ((1, 1000.0), (3, 5000.0)):
        times = array("f", [0.0, 2.0]).tobytes()
        packing.extend(whole, Stored(first, 1, None, times, array("d", [1.0, 2.0]).tobytes(), since))
    whole.add(9, 7777.0, 1.0)
    assert [whole.at(where) for where in range(5)] == [1000, 1002, 5000, 5002, 7777]
