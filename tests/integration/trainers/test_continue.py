"""A run that goes on where another one stood."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.llm

LONG = {"epochs": 2, "batch_size": 4, "micro_batch_size": 4}
SETTINGS: dict[str, Any] = {"training": LONG, "adapter": {"dropout": 0.1}, "checkpoints": {"every_steps": 3, "keep": 9}}


def changed(**training: Any) -> dict[str, Any]:
    return SETTINGS | {"training": LONG | training}


def note(events: Any, rundir: Any) -> Any:
    [event] = [event for event in events(rundir, "message") if "continues" in event.data]
    return event


@pytest.mark.parametrize("training", [{}, {"micro_batch_size": 2}, {"activation_checkpointing": True}])
def test_with_the_same_steps_it_ends_with_the_weights_of_one_run(training, make_run, train, events, same_weights):
    """Smaller parts of the same batch round otherwise, so there the steps are the same, not each bit."""
    whole = make_run("whole", **SETTINGS)
    assert train(whole) == 0
    child = make_run("child", **changed(**training), continue_from=str(whole.checkpoint(6)))
    assert train(child) == 0
    assert note(events, child).data["continues"] == {"checkpoint": str(whole.checkpoint(6)), "step": 6, "exact": True}
    assert [event.step for event in events(child, "resumed")] == [6]
    assert [event.step for event in events(child, "metric")] == list(range(7, 13))
    assert child.checkpoint_steps()[0] == 6
    if not training:
        assert same_weights(whole.final, child.final)
    shared = whole.checkpoint(6) / "adapter_model.safetensors"
    assert shared.samefile(child.checkpoint(6) / "adapter_model.safetensors")


def test_what_was_chosen_and_is_now_written_down_is_no_change(make_run, train, events, same_weights):
    settings = SETTINGS | {"training": {"epochs": 2, "batch_size": None, "learning_rate": None}}
    whole = make_run("whole", **settings)
    assert train(whole) == 0
    plan = json.loads((whole.root / "choices.json").read_text())["plan"]
    pinned = {name: plan[name] for name in ("batch_size", "learning_rate", "packing", "group_by_length")}
    step = whole.checkpoint_steps()[0]
    child = make_run(
        "child", **SETTINGS | {"training": {"epochs": 2, **pinned}}, continue_from=str(whole.checkpoint(step))
    )
    assert train(child) == 0
    assert note(events, child).data["continues"]["exact"]
    assert same_weights(whole.final, child.final)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_with_other_steps_it_begins_with_the_weights(kind, adapter, make_run, train, events):
    """With a learning rate of next to nothing it ends where it began."""
    settings = SETTINGS | {"adapter": {"type": adapter}, "kind": kind}
    first = make_run("first", **settings)
    assert train(first) == 0
    last = first.checkpoint_steps()[-1]
    small = {"training": LONG | {"learning_rate": 1e-12}}
    child = make_run("child", **settings | small, continue_from=str(first.checkpoint(last)))
    assert train(child) == 0
    said = note(events, child)
    assert said.data["continues"]["exact"] is False
    assert "training.learning_rate was 0.001, is 1e-12" in said.text
    assert [event.step for event in events(child, "metric")] == list(range(1, last + 1))
    assert is_close(child.final, first.final)


def is_close(one: Path, other: Path) -> bool:
    import torch
    from safetensors.torch import load_file

    [(first, second)] = zip(one.glob("*.safetensors"), other.glob("*.safetensors"), strict=True)
    weights, expected = load_file(first), load_file(second)
    assert any(tensor.abs().max() > 1e-4 for name, tensor in expected.items() if "lora_A" not in name)
    return all(torch.allclose(weights[name], expected[name], atol=1e-7) for name in expected)


def test_it_goes_on_from_its_own_checkpoint_once_it_has_one(make_run, train, train_until, events, same_weights):
    first = make_run("first", **SETTINGS)
    assert train(first) == 0
    settings = changed(learning_rate=5e-4) | {"continue_from": str(first.checkpoint(6))}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    step = train_until(stopped, 4, attempt=1)
    assert train(stopped, attempt=2) == 0
    assert [event.step for event in events(stopped, "resumed")] == [step]
    assert same_weights(whole.final, stopped.final)


def failure(events: Any, rundir: Any) -> tuple[str, str]:
    [event] = events(rundir, "finished")
    return event.reason, event.message


def test_weights_that_do_not_fit_are_refused_before_the_model_is_loaded(make_run, train, events, tmp_path: Path):
    first = make_run("first", **SETTINGS)
    assert train(first) == 0
    other = make_run("other", **SETTINGS | {"adapter": {"rank": 2}}, continue_from=str(first.checkpoint(6)))
    assert train(other) == 1
    reason, message = failure(events, other)
    assert reason == "bad_config"
    assert "adapter.rank was 4, is 2" in message
    assert not [event for event in events(other, "phase") if event.phase == "loading"]
    for name in (first.checkpoint(99), first.final, tmp_path):
        lost = make_run(f"lost-{name.name}", **SETTINGS, continue_from=str(name))
        assert train(lost) == 1
        assert failure(events, lost) == ("bad_config", f"continue_from: there is no checkpoint {name}")
