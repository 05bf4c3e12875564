"""Direct preference optimisation with a real, tiny model."""

import math

import pytest

pytestmark = pytest.mark.llm

REFERENCES = {
    "adapter_off": {"preference": {"precompute_reference": False}},
    "adapter_precomputed": {"preference": {"precompute_reference": True}},
    "full_precomputed": {"adapter": {"type": "none"}},
    "full_second_copy": {"adapter": {"type": "none"}, "preference": {"precompute_reference": False}},
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_reference_is_the_model_before_training(reference, make_run, train, events):
    """Then the first loss is exactly that of no preference, and training moves away from it."""
    rundir = make_run(kind="dpo", training={"epochs": 4, "learning_rate": 0.01}, **REFERENCES[reference])
    assert train(rundir) == 0
    reports = [event.values for event in events(rundir, "metric")]
    assert reports[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert reports[-1]["loss"] < 0.6
    assert reports[-1]["rewards_margins"] > 0 == pytest.approx(reports[0]["rewards_margins"], abs=1e-5)
    assert {"rewards_chosen", "rewards_rejected", "rewards_accuracies", "num_tokens"} <= reports[0].keys()


def test_the_result_holds_no_frozen_reference(make_run, train):
    rundir = make_run(kind="dpo")
    assert train(rundir) == 0
    assert [path for path in rundir.final.rglob("*") if path.is_dir()] == []
    assert [path for path in rundir.checkpoint(rundir.checkpoint_steps()[-1]).rglob("ref*")] == []


def test_pairs_are_evaluated(make_run, train, events):
    rundir = make_run(kind="dpo", data={"eval_split": 0.25}, evaluation={"every_steps": 2})
    assert train(rundir) == 0
    evaluations = [event for event in events(rundir, "metric") if event.split == "eval"]
    assert [event.step for event in evaluations] == [2, 3]
    assert {"eval_loss", "eval_rewards_margins", "eval_rewards_accuracies"} <= evaluations[0].values.keys()


def test_long_work_without_steps_shows_that_it_moves(make_run, train, events, monkeypatch):
    """Else a reference or an evaluation that takes an hour would look like a trainer that is stuck."""
    monkeypatch.setattr("runyard.trainers.language.trl_trainers.BATCH_SECONDS", 0.0)
    rundir = make_run(
        kind="dpo", data={"eval_split": 0.25}, evaluation={"every_steps": 2}, **REFERENCES["adapter_precomputed"]
    )
    assert train(rundir) == 0
    told = [event for event in events(rundir, "progress") if event.batch is not None]
    assert [event.batch for event in told] == list(range(1, len(told) + 1))
    assert {event.phase for event in told} == {"loading", "evaluating"}
    assert {event.step for event in told if event.phase == "evaluating"} <= {1, 2, 3}


def test_label_smoothing_that_would_be_ignored_is_refused(make_run, train, events):
    rundir = make_run(kind="dpo", preference={"label_smoothing": 0.1})
    assert train(rundir) == 1
    assert events(rundir)[-1].reason == "bad_config"
    assert "preference.label_smoothing" in events(rundir)[-1].message
