"""The watch over the loss, early stopping's counting, and speeds."""

import math

import pytest

from runyard.trainers.failures import TrainingError
from runyard.trainers.language.state import RunState
from runyard.trainers.language.watch import EXPLODED, OVERFLOWS, watch
from runyard.trainers.pace import Pace


def feed(losses, state=None, dtype="fp32"):
    state = state or RunState()
    for step, loss in enumerate(losses, start=1):
        watch(state, step, loss, 1.0, dtype)
    return state


def test_an_ordinary_bumpy_run_is_left_alone():
    feed([10.8, 9, 7, 4, 3.5, 5, 2.8, 9, 2.5, 2.4, 8, 2.2] * 20)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_caught_at_once(loss):
    with pytest.raises(TrainingError, match="at step 3") as caught:
        feed([2.0, 1.9, loss])
    assert caught.value.reason == "loss_not_finite"


def test_a_gradient_norm_that_is_no_number_is_caught_at_once():
    with pytest.raises(TrainingError, match="gradient norm"):
        watch(RunState(), 1, 2.0, math.nan, "bf16")


def test_fp16_may_overflow_while_its_scale_is_searched_for():
    state = RunState()
    for step in range(1, OVERFLOWS):
        watch(state, step, 2.0, math.inf, "fp16")
    watch(state, OVERFLOWS, 2.0, 1.0, "fp16")
    assert state.scaled_overflows == 0
    state.scaled_overflows = OVERFLOWS - 1
    with pytest.raises(TrainingError, match="gradient norm"):
        watch(state, OVERFLOWS + 1, 2.0, math.inf, "fp16")


def test_a_loss_that_stays_far_above_the_best_has_exploded():
    state = feed([2.0] * 30 + [30.0] * (EXPLODED - 1))
    with pytest.raises(TrainingError) as caught:
        watch(state, 99, 30.0, 1.0, "fp32")
    assert caught.value.reason == "loss_exploded"


def test_single_spikes_are_forgiven():
    feed(([2.0] * 3 + [50.0] * (EXPLODED - 1)) * 10)


def test_the_watch_goes_on_over_a_checkpoint(tmp_path):
    state = feed([2.0] * 30 + [30.0] * (EXPLODED - 1))
    restored = RunState.model_validate_json(state.model_dump_json())
    with pytest.raises(TrainingError, match="exploded"):
        watch(restored, 99, 30.0, 1.0, "fp32")


def test_patience_counts_evaluations_without_gain():
    state = RunState()
    outcomes = [state.note_evaluation(step, loss, 0.1) for step, loss in enumerate([3.0, 2.0, 1.95, 2.5, 1.0])]
    assert outcomes == [True, True, True, False, True]
    assert (state.best_eval_loss, state.best_eval_step, state.evaluations_without_gain) == (1.0, 4, 0)
    state.note_evaluation(5, 0.95, 0.1)
    state.note_evaluation(6, math.nan, 0.1)
    assert state.evaluations_without_gain == 2
    assert RunState.model_validate_json(state.model_dump_json()) == state


def test_speed_does_not_count_the_time_of_an_evaluation():
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.begin(10, tokens=1000)
    now[0] = 2.0
    assert pace.lap(12, samples=8, tokens=1400, trained_tokens=100) == {
        "samples_per_second": 4,
        "tokens_per_second": 200,
        "trained_tokens_per_second": 50,
        "iteration_seconds": 1,
    }
    now[0] = 100.0
    pace.skip()
    now[0] = 101.0
    assert pace.lap(13, samples=12, tokens=1600, trained_tokens=50)["samples_per_second"] == 4
    assert pace.eta_seconds(13, 16) == pytest.approx(101.0), "all the time that steps took, evaluations included"
