"""A run that was stopped and resumed ends with the weights of a run that never was: bit for bit, on a CPU."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.llm

LONG = {"epochs": 2, "batch_size": 4, "micro_batch_size": 4}
CASES: dict[str, dict[str, Any]] = {
    "sft_packed": {
        "training": {"packing": True, "max_length": 32, "batch_size": 2, "micro_batch_size": 1, "epochs": 2},
        "adapter": {"dropout": 0.1},
    },
    "sft_grouped_accumulated": {
        "training": LONG | {"micro_batch_size": 2, "group_by_length": True},
        "adapter": {"dropout": 0.1},
    },
    "sft_evaluated": {
        "training": LONG | {"group_by_length": False},
        "adapter": {"dropout": 0.1, "type": "dora"},
        "data": {"eval_split": 0.2},
        "evaluation": {"every_steps": 3},
    },
    "sft_full": {"training": LONG, "adapter": {"type": "none"}},
    "sft_uneven_epochs": {"training": LONG | {"batch_size": 5, "micro_batch_size": 1, "epochs": 1.5}},
    "dpo": {"kind": "dpo", "training": LONG, "adapter": {"dropout": 0.1}},
    "dpo_grouped_full": {
        "kind": "dpo",
        "training": LONG | {"micro_batch_size": 2, "group_by_length": True},
        "adapter": {"type": "none"},
    },
    "dpo_full_second_copy": {
        "kind": "dpo",
        "training": LONG,
        "adapter": {"type": "none"},
        "preference": {"precompute_reference": False},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_run_ends_with_the_same_weights(case, make_run, train, train_until, events, same_weights):
    settings = {"checkpoints": {"every_steps": 100}, **CASES[case]}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    total = whole.checkpoint_steps()[-1]
    first = train_until(stopped, 1, attempt=1)
    second = train_until(stopped, total // 2, attempt=2)
    assert 1 < first < total // 2 <= second < total, "both stops are inside the run, the second in the second half"
    assert train(stopped, attempt=3) == 0
    assert same_weights(whole.final, stopped.final)
    assert [event.step for event in events(stopped, "resumed")] == [first, second]
    assert curve(events, whole) == curve(events, stopped)


def test_a_stop_after_every_step_changes_nothing(make_run, train, train_until, events, same_weights):
    settings = {"adapter": {"dropout": 0.2}, "checkpoints": {"every_steps": 100}, "training": LONG}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    steps = [0]
    while steps[-1] < 8:
        steps.append(train_until(stopped, steps[-1] + 1, attempt=len(steps)))
    assert len(steps) >= 4
    assert train(stopped, attempt=len(steps)) == 0
    assert same_weights(whole.final, stopped.final)
    assert curve(events, whole) == curve(events, stopped)


def test_early_stopping_counts_on_after_a_resume(make_run, train, train_until, events, same_weights):
    settings = {
        "training": LONG | {"epochs": 6, "learning_rate": 1e-9},
        "data": {"eval_split": 0.2},
        "evaluation": {"every_steps": 2, "early_stopping_patience": 3, "early_stopping_min_delta": 1.0},
        "checkpoints": {"every_steps": 100},
    }
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    [note] = [event.text for event in events(whole, "message") if "stopped early" in event.text]
    assert "at step 8" in note
    train_until(stopped, 3, attempt=1)
    assert train(stopped, attempt=2) == 0
    assert note in [event.text for event in events(stopped, "message")]
    assert same_weights(whole.final, stopped.final)
    assert curve(events, whole) == curve(events, stopped)


def test_an_evaluation_that_a_stop_prevented_is_made_up_for(make_run, train, train_until, events, same_weights):
    settings = {
        "training": LONG,
        "data": {"eval_split": 0.2},
        "evaluation": {"every_steps": 1},
        "checkpoints": {"every_steps": 100},
    }
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    step = train_until(stopped, 2, attempt=1)
    assert step not in [event.step for event in events(stopped, "metric") if event.split == "eval"]
    assert json.loads((stopped.checkpoint(step) / "runyard.json").read_text())["evaluation_owed"]
    assert train(stopped, attempt=2) == 0
    assert curve(events, whole, "eval") == curve(events, stopped, "eval")
    assert same_weights(whole.final, stopped.final)


def test_a_checkpoint_that_nobody_was_told_of_is_told_of_when_the_run_goes_on(make_run, train, train_until, events):
    rundir = make_run(checkpoints={"every_steps": 100})
    step = train_until(rundir, 2, attempt=1)
    lines = rundir.events.read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b'"type":"checkpoint"' in line)
    rundir.events.write_bytes(b"".join(lines[:at]))  # killed between the rename and the report
    assert train(rundir, attempt=2) == 0
    told = [event for event in events(rundir, "checkpoint") if event.step == step]
    assert [(event.attempt, bool(event.files)) for event in told] == [(2, True)]


def curve(events, rundir, split="train") -> list[tuple[int, Any, Any]]:
    """Loss and token count by step, later attempts after a `resumed` event taking the place of earlier ones."""
    points: dict[int, Any] = {}
    for event in events(rundir):
        if event.type == "resumed":
            points = {step: point for step, point in points.items() if step <= event.step}
        if event.type == "metric" and event.split == split:
            names = ("loss", "num_tokens", "eval_loss", "rewards_margins")
            points[event.step] = tuple(event.values.get(name) for name in names)
    return sorted(points.items())
