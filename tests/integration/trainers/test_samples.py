"""The same prompts, answered by the base model and at each checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runyard.trainers import run

pytestmark = pytest.mark.llm

PROMPTS = ["say one 1", [{"role": "system", "content": "be brief"}, {"role": "user", "content": "say two 2"}]]
SAMPLES = {"prompts": PROMPTS, "max_new_tokens": 8}
SETTINGS: dict[str, Any] = {
    "training": {"epochs": 2, "learning_rate": 0.01},
    "adapter": {"dropout": 0.2},
    "checkpoints": {"every_steps": 5, "keep": 9},
}
FULL = SETTINGS | {"adapter": {"type": "none"}}


def answers(events: Any, rundir: Any) -> dict[tuple[int, int], str]:
    """What counts, by step and index; no answer is given twice."""
    found: dict[tuple[int, int], str] = {}
    for event in events(rundir):
        if event.type == "resumed":
            found = {key: answer for key, answer in found.items() if key[0] <= event.step}
        if event.type == "sample":
            assert (event.step, event.index) not in found
            found[event.step, event.index] = event.answer
    return found


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        FULL,
        SETTINGS | {"training": {"epochs": 2, "packing": True, "activation_checkpointing": True, "max_length": 40}},
        SETTINGS | {"kind": "dpo"},
    ],
    ids=["lora", "full", "packed", "dpo"],
)
def test_asking_changes_no_weight_and_tells_at_each_checkpoint(settings, make_run, train, events, same_weights):
    plain, asked = make_run("plain", **settings), make_run("asked", **settings, samples=SAMPLES)
    assert train(plain) == train(asked) == 0
    assert same_weights(plain.final, asked.final)
    found = answers(events, asked)
    assert sorted(found) == [(step, index) for step in [0, *asked.checkpoint_steps()] for index in (0, 1)]
    assert events(plain, "sample") == []
    values = [
        [dict(event.values, **dict.fromkeys(SPEEDS)) for event in events(one, "metric")] for one in (plain, asked)
    ]
    assert values[0] == values[1]


SPEEDS = (
    "samples_per_second", "tokens_per_second", "trained_tokens_per_second", "iteration_seconds", "cpu_percent",
    "rss_mb",
)  # fmt: skip


def test_step_0_is_the_base_model_and_the_last_is_what_is_delivered(make_run, train, events, model):
    rundir = make_run(**SETTINGS | {"training": {"epochs": 20, "learning_rate": 0.03}}, samples=SAMPLES)
    assert train(rundir) == 0
    found = answers(events, rundir)
    last = max(step for step, _ in found)
    assert found[0, 0] == asked_by_hand(model, "<|user|>say one 1<|end|><|assistant|>")
    prompt = "<|system|>be brief<|end|><|user|>say two 2<|end|><|assistant|>"
    assert found[last, 1] == asked_by_hand(rundir.final, prompt) != found[0, 1]
    [base, *_] = events(rundir, "sample")
    assert (base.prompt, base.wanted, base.truncated) == ("say one 1", None, True)
    assert events(rundir, "sample")[1].prompt == "system: be brief\nuser: say two 2"


def asked_by_hand(folder: Path, prompt: str) -> str:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    auto = AutoPeftModelForCausalLM if (folder / "adapter_config.json").exists() else AutoModelForCausalLM
    model = auto.from_pretrained(folder).eval()
    given = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    whole = model.generate(input_ids=given, attention_mask=given.new_ones(given.shape), max_new_tokens=8)
    return str(tokenizer.decode(whole[0, given.shape[1] :], skip_special_tokens=True)).strip()


@pytest.mark.parametrize("settings", [SETTINGS, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_stopped_run_gives_the_same_answers_once(
    settings, temperature, make_run, train, train_until, events, same_weights
):
    settings = settings | {"samples": SAMPLES | {"temperature": temperature}}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    step = train_until(stopped, 6, attempt=1)
    assert train(stopped, attempt=2) == 0
    found = answers(events, stopped)
    assert {key: answer for key, answer in found.items() if key[0] != step} == answers(events, whole)
    assert same_weights(whole.final, stopped.final)
    if temperature:
        assert len({answer for (_, index), answer in found.items() if index == 0}) > 1


@pytest.mark.parametrize("at", [0, 5, 12], ids=["base", "middle", "end"])
def test_a_stop_between_two_answers_is_made_up_for(at, make_run, train, train_and_signal, events, same_weights):
    settings = SETTINGS | {"samples": SAMPLES | {"prompts": [*PROMPTS, "say three 3"]}}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    assert train_and_signal(stopped, f'"type":"sample","step":{at},"index":0') == run.STOPPED
    assert [*stopped.checkpoint_steps()][-1:] == ([at] if at else [])
    before = answers(events, stopped)
    assert (at, 2) not in before
    assert train(stopped, attempt=2) == 0
    assert answers(events, stopped) == answers(events, whole)
    assert same_weights(whole.final, stopped.final)


def test_a_stop_does_not_wait_for_a_long_answer(make_run, cache, events):
    rundir = make_run(**SETTINGS, samples={"prompts": ["say one 1"] * 8, "max_new_tokens": 200, "temperature": 2})
    command = [sys.executable, "-m", "runyard.trainers", str(rundir.root)]
    process = subprocess.Popen(command, env={**os.environ, "RUNYARD_CACHE": str(cache)})
    try:
        deadline = time.monotonic() + 120
        while not (rundir.events.exists() and '"phase":"evaluating"' in rundir.events.read_text()):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == run.STOPPED
    finally:
        process.kill()
        process.wait()
    assert len(events(rundir, "sample")) < 8
    assert events(rundir, "metric") == []


def test_evaluation_rows_are_asked_with_what_is_wanted_beside(make_run, train, events, sft_data):
    rundir = make_run(**SETTINGS, data={"eval_split": 0.25}, samples={"from_eval": 2, "every_checkpoint": False})
    assert train(rundir) == 0
    told = events(rundir, "sample")
    assert [(event.step, event.index) for event in told] == [(0, 0), (0, 1), (10, 0), (10, 1)]
    assert all("say" in event.prompt for event in told)
    lines = sft_data.read_text().splitlines()
    rows = [json.loads(line)["messages"] for line in lines]
    assert {told[0].wanted, told[1].wanted} <= {row[1]["content"] for row in rows}


@pytest.mark.parametrize("settings", [SETTINGS, FULL], ids=["lora", "full"])
def test_a_run_that_goes_on_from_another_asks_the_base_and_what_it_goes_on_from(settings, make_run, train, events):
    first = make_run("first", **settings, samples=SAMPLES)
    assert train(first) == 0
    child = make_run("child", **settings, samples=SAMPLES, continue_from=str(first.checkpoint(5)))
    assert train(child) == 0
    assert [event.step for event in events(child, "resumed")] == [5]
    assert answers(events, child) == answers(events, first)


def test_asking_that_fails_does_not_end_the_training(make_run, train, events, monkeypatch):
    from transformers import LlamaForCausalLM

    def fails(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(LlamaForCausalLM, "generate", fails)
    rundir = make_run(**SETTINGS, samples=SAMPLES)
    assert train(rundir) == 0
    assert events(rundir, "sample") == []
    [warning] = [event.text for event in events(rundir, "message") if event.level == "warning"]
    assert "goes on without" in warning
    assert "out of memory" in warning


def test_plain_text_is_gone_on_with(make_run, train, events, tmp_path):
    rows = tmp_path / "plain.jsonl"
    rows.write_text('{"prompt": "one two", "completion": " three four"}\n' * 8)
    rundir = make_run(data={"train": str(rows)}, samples={"prompts": ["one two"], "max_new_tokens": 4})
    assert train(rundir) == 0
    assert events(rundir, "sample")[0].prompt == "one two"


def test_what_the_model_can_not_take_is_a_problem_before_anything_is_loaded(make_run, cache):
    rundir = make_run(samples={"prompts": ["one", "two " * 400]})
    command = [sys.executable, "-m", "runyard.trainers", str(rundir.root), "--check"]
    done = subprocess.run(command, env={**os.environ, "RUNYARD_CACHE": str(cache)}, capture_output=True, check=False)
    [problem] = json.loads(done.stdout)["problems"]
    assert (done.returncode, problem["field"]) == (2, "samples.prompts.1")
    assert "the model was made for 256" in problem["message"]
