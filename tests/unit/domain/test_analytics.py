"""Figures of jobs against histories reckoned by hand."""

from typing import Any

import pytest

from runyard.domain import analytics
from runyard.domain.analytics import Compared, History, Saved
from runyard.domain.lifecycle import State
from runyard.domain.rollups import Rollup

MOVES = [
    (0.0, "queued"), (100.0, "starting"), (110.0, "running"), (220.0, "pausing"), (225.0, "paused"),
    (1000.0, "queued"), (1100.0, "starting"), (1105.0, "running"), (1200.0, "completed"),
]  # fmt: skip
"""It held a machine from 100 to 225 and from 1100 to 1200: 125 + 100 = 225 s."""


def fine_tune() -> Rollup:
    """A job that pauses: 4 steps of 8 samples each, at 2, 4, 2 and 2 s a step."""
    rollup = Rollup()
    for type_, at, attempt, phase in (
        ("phase", 105.0, 1, "loading"),
        ("phase", 120.0, 1, "training"),  # 15 s of loading
        ("phase", 200.0, 1, "evaluating"),  # 80 s of training
        ("phase", 210.0, 1, "training"),  # 10 s of evaluating
        ("phase", 220.0, 1, "saving"),  # 10 s of training
        ("finished", 224.0, 1, None),  # 4 s of saving
        ("phase", 1110.0, 2, "training"),
        ("finished", 1195.0, 2, None),  # 85 s of training
    ):
        rollup.hear(type_, at, {"attempt": attempt, "phase": phase})
    for step, seconds, loss, gpu, memory, heat in (
        (1, 2.0, 4.0, 80.0, 6000.0, 60.0),
        (2, 4.0, 3.0, 90.0, 7000.0, 70.0),
        (3, 2.0, 0.5, 100.0, 8000.0, 75.0),
        (4, 2.0, 1.0, 90.0, 7000.0, 75.0),
    ):
        values = {
            "loss": loss, "iteration_seconds": seconds, "samples_per_second": 8 / seconds,
            "gpu_utilization_percent": gpu, "gpu_memory_mb": memory, "gpu_temperature_celsius": heat,
        }  # fmt: skip
        rollup.take("train", step, {}, values)
    rollup.take("eval", 4, {}, {"eval_loss": 1.2})
    return rollup


def test_every_figure_of_a_fine_tune() -> None:
    total = analytics.held_seconds(MOVES, now=5000)
    saved = [Saved(4, "checkpoints/step-000004"), Saved(2, "checkpoints/step-000002", best=True)]
    found = analytics.report(History("j", State.COMPLETED, total, fine_tune(), saved, best_alike=4.0))
    assert (found.job_id, found.status, found.warnings) == ("j", "completed", [])
    # Training 80 + 10 + 85 = 175; the other 50 of 225 s are loading, evaluating, saving and starting.
    assert found.duration == {"total_seconds": 225, "training_seconds": 175, "overhead_seconds": 50}
    # 32 samples in 2 + 4 + 2 + 2 = 10 s; the quickest step did 8 in 2 s.
    assert found.performance == {
        "average_samples_per_second": 3.2,
        "peak_samples_per_second": 4.0,
        "average_iteration_time": 2.5,
        "total_iterations": 4,
        "total_samples": 32,
    }
    assert found.resource_utilization == {
        "average_gpu_utilization": 90.0,  # (80 + 90 + 100 + 90) / 4
        "peak_gpu_memory_mb": 8000.0,
        "average_gpu_memory_mb": 7000.0,  # (6 + 7 + 8 + 7) / 4 thousand
        "average_gpu_temp_celsius": 70.0,  # (60 + 70 + 75 + 75) / 4
        "peak_gpu_temp_celsius": 75.0,
    }
    assert found.checkpoints == {
        "total_checkpoints": 2,
        "checkpoint_frequency_steps": 2,
        "best_checkpoint": "checkpoints/step-000002",
        "final_checkpoint": "checkpoints/step-000004",
    }
    # From 4 to 1 is three quarters less.
    assert found.losses == {"initial_loss": 4.0, "final_loss": 1.0, "best_loss": 0.5, "loss_reduction_percent": 75.0}
    # 3.2 of the 4.0 that the best like it came to is 80; the mean of 90 and 80 is 85.
    assert found.efficiency == {
        "gpu_utilization_score": 90.0, "throughput_score": 80.0, "overall_score": 85.0,
    }  # fmt: skip


def test_a_job_that_holds_a_machine_has_held_it_up_to_now() -> None:
    assert analytics.held_seconds(MOVES[:3], now=160) == 60
    assert analytics.held_seconds(MOVES[:5], now=900) == 125
    assert analytics.held_seconds(MOVES[:8], now=1150) == 125 + 50
    assert analytics.held_seconds(MOVES[:1], now=900) is None
    found = analytics.report(History("j", State.RUNNING, 60.0, fine_tune()))
    assert found.warnings[0] == "the job has not ended: the figures are those up to now"


def test_the_fastest_of_its_kind_is_its_own_measure() -> None:
    assert analytics.efficiency(None, 5.0, 4.0) == {
        "gpu_utilization_score": None, "throughput_score": 100.0, "overall_score": 100.0,
    }  # fmt: skip
    assert analytics.efficiency(60.0, 5.0, None)["overall_score"] == 60.0
    assert analytics.efficiency(None, None, 4.0)["overall_score"] is None


def test_without_a_gpu_its_figures_are_unknown_and_it_is_said_why() -> None:
    rollup = Rollup()
    rollup.hear("metric", 10.0, {"attempt": 1})
    rollup.take("train", 1, {}, {"loss": 2.0, "samples_per_second": 4.0})
    found = analytics.report(History("j", State.COMPLETED, 30.0, rollup))
    assert set(found.resource_utilization.values()) == {None}
    assert found.duration["training_seconds"] == 0.0
    assert found.performance["total_samples"] is None
    assert [text.partition(":")[0] for text in found.warnings] == [
        "it reported no iteration_seconds",
        "it reported no GPU figures",
        "no other job like it has been completed",
    ]


def test_of_a_job_that_never_spoke_only_the_duration_is_known() -> None:
    for rollup in (None, Rollup()):
        found = analytics.report(History("j", State.FAILED, 12.0, rollup))
        assert found.duration == {"total_seconds": 12.0, "training_seconds": None, "overhead_seconds": None}
        assert found.losses["initial_loss"] is None
        assert found.warnings == ["it reported nothing, or before there were figures: only its duration is known"]
    waiting = analytics.report(History("j", State.QUEUED, None, None))
    assert waiting.duration["total_seconds"] is None
    assert "it has not held a machine yet" in waiting.warnings


def test_a_loss_that_ended_as_nan_has_no_final_one() -> None:
    rollup = Rollup()
    rollup.take("train", 1, {}, {"loss": 2.0})
    rollup.take("train", 2, {}, {"loss": None})
    found = analytics.report(History("j", State.FAILED, 12.0, rollup))
    assert found.losses == {
        "initial_loss": 2.0, "final_loss": None, "best_loss": 2.0, "loss_reduction_percent": None,
    }  # fmt: skip
    assert "its last loss was not a finite number" in found.warnings


@pytest.mark.parametrize(
    ("first", "last", "percent"), [(2.0, 3.0, -50.0), (-2.0, -3.0, 50.0), (0.0, 1.0, None)], ids=str
)
def test_a_reduction_is_of_how_large_the_first_loss_was(first: float, last: float, percent: float | None) -> None:
    rollup = Rollup()
    rollup.take("train", 1, {}, {"loss": first})
    rollup.take("train", 2, {}, {"loss": last})
    assert analytics.losses(rollup)["loss_reduction_percent"] == percent


def side(job_id: str, **figures: Any) -> Compared:
    unknown: dict[str, Any] = dict.fromkeys(
        ("duration_seconds", "throughput", "final_loss", "best_loss", "best_eval_loss", "gpu_utilization",
         "overall_score")
    )  # fmt: skip
    return Compared(job_id, **{"state": State.COMPLETED, **unknown, **figures})


def test_the_winner_of_each_measure() -> None:
    jobs = [
        side("a", duration_seconds=50.0, throughput=9.0, best_loss=0.1, best_eval_loss=0.9, overall_score=50.0),
        side("b", duration_seconds=40.0, throughput=9.0, best_loss=0.5, best_eval_loss=0.8, overall_score=70.0),
        side("c", duration_seconds=5.0, state=State.FAILED),
    ]
    assert analytics.winner(jobs) == {
        "best_throughput": "a", "best_loss": "b", "fastest": "b", "most_efficient": "b",
    }  # fmt: skip
    jobs.append(side("d", best_loss=0.3))
    assert analytics.winner(jobs)["best_loss"] == "a", "not all evaluated: the losses of training are compared"
    assert set(analytics.winner([side("a"), side("b")]).values()) == {None}


def test_only_settings_that_differ_are_told() -> None:
    specs: dict[str, dict[str, Any]] = {
        "a": {"name": "one", "training": {"epochs": 1.0, "learning_rate": 1e-4}, "data": {"columns": {}}},
        "b": {"name": "two", "training": {"epochs": 1.0, "learning_rate": 2e-4}, "data": {"columns": {"x": "y"}}},
    }
    assert analytics.differences(specs) == {
        "training.learning_rate": {"a": 1e-4, "b": 2e-4},
        "data.columns": {"a": {}, "b": None},
        "data.columns.x": {"a": None, "b": "y"},
    }
    assert analytics.differences({"a": specs["a"]}) == {}
