"""What events come to: counted as they come, in any order, and the same as if they were counted anew."""

import json
import random
from typing import Any

import pytest

from runyard.domain import rollups
from runyard.domain.rollups import Rollup, Tally


def heard(*events: tuple[str, float, int, str | None]) -> Rollup:
    rollup = Rollup()
    for type_, at, attempt, phase in events:
        rollup.hear(type_, at, {"attempt": attempt, "phase": phase})
    return rollup


def test_time_belongs_to_the_phase_that_it_was_spent_in() -> None:
    rollup = heard(
        ("phase", 100, 1, "loading"),
        ("phase", 130, 1, "training"),  # 30 s of loading
        ("metric", 150, 1, None),
        ("phase", 200, 1, "evaluating"),  # 70 s of training
        ("phase", 210, 1, "training"),  # 10 s of evaluating
        ("finished", 215, 1, None),  # 5 s of training
        # A pause of 785 s, which is in no phase.
        ("phase", 1000, 2, "training"),
        ("metric", 1040, 2, None),  # 40 s of training; it is killed after that
    )
    assert rollup.seconds == {"loading": 30, "training": 115, "evaluating": 10}


def test_a_script_without_phases_trains_from_its_first_value_on() -> None:
    rollup = heard(("metric", 100, 1, None), ("metric", 130, 1, None), ("message", 131, 1, None))
    assert rollup.seconds == {"training": 31}


def test_a_clock_that_was_set_back_takes_no_time_away() -> None:
    rollup = heard(("phase", 100, 1, "training"), ("metric", 110, 1, None), ("metric", 50, 1, None),
                   ("metric", 60, 1, None))  # fmt: skip
    assert rollup.seconds == {"training": 20}


def test_what_is_written_down_goes_on_where_it_was() -> None:
    rollup = heard(("phase", 100, 1, "training"))
    rollup.take("train", 1, {}, {"loss": 2.0, "odd": None})
    again = Rollup.restored(json.loads(json.dumps(rollup.content())))
    assert again == rollup
    again.hear("metric", 110, {"attempt": 1})
    assert again.seconds == {"training": 10}


def test_values_come_to_the_same_in_any_order_and_by_any_parts() -> None:
    chance = random.Random(5)
    points = [(step, None if step % 7 == 0 else chance.random()) for step in range(100)]
    whole = Tally()
    for step, value in points:
        whole.take(step, value)
    mixed, parts = Tally(), [Tally(), Tally(), Tally()]
    for step, value in chance.sample(points, len(points)):
        mixed.take(step, value)
        parts[step % 3].take(step, value)
    joined = Tally()
    for part in parts:
        joined.join(part)
    assert mixed.parts() == pytest.approx(whole.parts())
    assert joined.parts() == pytest.approx(whole.parts())
    numbers = {step: value for step, value in points if value is not None}
    assert (whole.count, whole.nulls, whole.lowest) == (len(numbers), 15, min(numbers.values()))
    assert numbers[whole.highest_step or 0] == whole.highest
    assert (whole.first_step, whole.last_step, whole.last_null) == (1, 99, 98)


def test_the_newest_value_is_none_when_it_was_not_finite() -> None:
    tally = Tally()
    tally.take(1, 2.0)
    assert tally.newest == 2.0
    tally.take(2, None)
    assert (tally.newest, tally.last) == (None, 2.0)


def test_a_point_that_is_added_to_counts_what_is_new_and_says_when_something_else_changed() -> None:
    rollup = Rollup()
    assert rollup.take("train", 1, {}, {"samples_per_second": 4.0})
    assert rollup.take("train", 1, {"samples_per_second": 4.0}, {"samples_per_second": 4.0, "iteration_seconds": 2.0})
    assert rollup.known("train", rollups.SAMPLES_PER_STEP).total == 8.0
    assert not rollup.take("train", 1, {"loss": 1.0}, {"loss": 2.0})
    assert not rollup.take("train", 1, {"loss": 1.0}, {"other": 2.0})


def test_speeds_count_for_as_long_as_they_lasted() -> None:
    rollup = Rollup()
    # 10 samples in 1 s a step, and 10 samples in 4 s a step: 20 samples in 5 s.
    rollup.take("train", 1, {}, {"samples_per_second": 10.0, "iteration_seconds": 1.0})
    rollup.take("train", 2, {}, {"samples_per_second": 2.5, "iteration_seconds": 4.0})
    assert rollups.throughput(rollup) == 4.0
    rollup.take("train", 3, {}, {"samples_per_second": 5.5})
    assert rollups.throughput(rollup) == 6.0, "where it is not told how long, all count alike: 18 / 3"


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([("train", 1, {"loss": 2.0}), ("train", 2, {"loss": 1.5})], ("loss", 1.5, 2)),
        ([("train", 1, {"loss": 0.1}), ("eval", 1, {"eval_loss": 0.9})], ("eval_loss", 0.9, 1)),
        ([("train", 1, {"loss": 0.1}), ("eval", 1, {"eval_loss": None})], ("loss", 0.1, 1)),
        ([("train", 1, {"accuracy": 0.1})], (None, None, None)),
    ],
)
def test_a_job_is_judged_by_its_evaluation_where_there_is_one(
    points: list[tuple[str, int, dict[str, Any]]], best: tuple[object, ...]
) -> None:
    rollup = Rollup()
    for split, step, values in points:
        rollup.take(split, step, {}, values)
    facts = rollups.facts(rollup)
    assert (facts["best_name"], facts["best_value"], facts["best_step"]) == best


def test_more_names_than_can_be_kept_are_left_out() -> None:
    rollup = Rollup()
    for step in range(rollups.MOST_NAMES + 10):
        rollup.take("train", step, {}, {f"loss{step}": 1.0})
    assert len(rollup.tallies["train"]) == rollups.MOST_NAMES


def test_lists_are_written_anew_now_and_then_and_whenever_something_turns() -> None:
    rollup = Rollup()
    assert rollup.is_due(["metric"], 10.0)
    assert not rollup.is_due(["metric"], 11.9)
    assert rollup.is_due(["metric", "checkpoint"], 11.9)
    assert rollup.is_due(["metric"], 13.9)
    assert rollup.is_due(["metric"], 5.0), "the clock was set back"
