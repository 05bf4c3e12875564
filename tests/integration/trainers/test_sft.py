"""Supervised fine-tuning with a real, tiny model."""

import hashlib
import json
import math

import pytest

pytestmark = pytest.mark.llm


def test_a_run_reports_from_first_phase_to_last_word(make_run, train, events):
    rundir = make_run(training={"epochs": 2}, data={"eval_split": 0.2}, evaluation={"every_steps": 5})
    assert train(rundir) == 0
    everything = events(rundir)
    phases = [event.phase for event in everything if event.type == "phase"]
    assert [phase for at, phase in enumerate(phases) if phase not in phases[:at]] == [
        "preparing",
        "loading",
        "training",
        "saving",
        "evaluating",
    ]
    assert everything[-1].type == "finished"
    assert everything[-1].outcome == "completed"
    reports = [event for event in everything if event.type == "metric" and event.split == "train"]
    assert [event.step for event in reports] == list(range(1, 11))
    assert reports[0].values.keys() == {
        "loss", "learning_rate", "grad_norm", "entropy", "token_accuracy", "num_tokens", "samples_per_second",
        "tokens_per_second", "trained_tokens_per_second", "iteration_seconds", "cpu_percent", "rss_mb",
    }  # fmt: skip
    assert all(math.isfinite(value) for event in reports for value in event.values.values())
    evaluations = [event for event in everything if event.type == "metric" and event.split == "eval"]
    assert [event.step for event in evaluations] == [5, 10]
    assert "eval_loss" in evaluations[0].values
    last = [event for event in everything if event.type == "progress"][-1]
    assert (last.phase, last.step, last.total_steps, last.eta_seconds) == ("training", 10, 10, 0)


def test_training_lowers_the_loss(make_run, train, events):
    rundir = make_run(training={"epochs": 10, "learning_rate": 0.01}, adapter={"type": "none"})
    assert train(rundir) == 0
    losses = [event.values["loss"] for event in events(rundir, "metric")]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("packing", [False, True])
def test_every_row_is_trained_once_an_epoch(packing, make_run, train, events):
    training = {"packing": packing, "max_length": 40, "batch_size": 2, "micro_batch_size": 1}
    rundir = make_run(training=training, checkpoints={"every_steps": 100})
    assert train(rundir) == 0
    report = next(event.data for event in events(rundir, "message") if "tokens" in event.data)
    [checkpoint] = rundir.checkpoint_steps()
    state = json.loads((rundir.checkpoint(checkpoint) / "runyard.json").read_text())
    assert (state["tokens"], state["trained_tokens"]) == (report["tokens"], report["trained_tokens"])
    assert checkpoint == 12 if not packing else checkpoint < 8


def test_packing_changes_no_rows_loss(make_run, train, events):
    """One step over the same rows has the same loss, packed or padded: packed rows don't see each other."""
    losses = []
    for packing, batch in ((False, 24), (True, 30)):
        rundir = make_run(
            f"packing-{packing}",
            training={"packing": packing, "max_length": 40, "batch_size": batch, "micro_batch_size": batch},
        )
        assert train(rundir) == 0
        losses += [event.values["loss"] for event in events(rundir, "metric")]
    assert len(losses) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_evaluating_does_not_change_the_weights(make_run, train, same_weights):
    settings = {"adapter": {"dropout": 0.3}, "data": {"eval_split": 0.25}, "training": {"epochs": 2}}
    seldom = make_run("seldom", evaluation={"every_steps": 100}, **settings)
    often = make_run("often", evaluation={"every_steps": 1}, **settings)
    assert train(seldom) == train(often) == 0
    assert same_weights(seldom.final, often.final)


def test_a_sparse_report_still_covers_every_step(make_run, train, events):
    rundir = make_run(training={"epochs": 2, "log_every": 5}, checkpoints={"every_steps": 100})
    assert train(rundir) == 0
    reports = [(event.step, event.values["num_tokens"]) for event in events(rundir, "metric")]
    assert [step for step, _ in reports] == [5, 10, 12]
    report = next(event.data for event in events(rundir, "message") if "tokens" in event.data)
    assert reports[-1][1] == 2 * report["tokens"]


def test_the_result_can_be_loaded_and_is_accounted_for(make_run, train, events, model):
    from peft import AutoPeftModelForCausalLM

    rundir = make_run(adapter={"type": "dora", "rank": 2})
    assert train(rundir) == 0
    adapted = AutoPeftModelForCausalLM.from_pretrained(rundir.final)
    config = adapted.peft_config["default"]
    assert (config.r, config.use_dora, config.base_model_name_or_path) == (2, True, str(model))
    assert sorted(path.name for path in rundir.final.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    manifest = json.loads(rundir.manifest.read_text())
    for entry in manifest["files"]:
        content = (rundir.root / entry["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size_bytes"], entry["sha256"])
    announced = {event.path: event.sha256 for event in events(rundir, "artifact")}
    assert announced.pop("manifest.json") == hashlib.sha256(rundir.manifest.read_bytes()).hexdigest()
    assert announced == {entry["path"]: entry["sha256"] for entry in manifest["files"]}


def test_tensorboard_files_hold_the_same_curve(make_run, train, events):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rundir = make_run()
    assert train(rundir) == 0
    accumulator = EventAccumulator(str(rundir.tensorboard))
    accumulator.Reload()
    drawn = [(point.step, pytest.approx(point.value)) for point in accumulator.Scalars("train/loss")]
    assert [(event.step, event.values["loss"]) for event in events(rundir, "metric")] == drawn


def test_a_completed_run_is_left_as_it_is(make_run, train, events):
    rundir = make_run()
    assert train(rundir) == 0
    before = {path: path.stat().st_mtime_ns for path in rundir.final.iterdir()}
    count = len(events(rundir))
    assert train(rundir, attempt=2) == 0
    assert {path: path.stat().st_mtime_ns for path in rundir.final.iterdir()} == before
    [word] = events(rundir)[count:]
    assert (word.attempt, word.outcome) == (2, "completed")


def test_early_stopping_delivers_the_best_weights(make_run, train, events, same_weights):
    rundir = make_run(
        training={"epochs": 30, "learning_rate": 0.03},
        adapter={"type": "none"},
        data={"eval_split": 0.3},
        evaluation={"every_steps": 5, "early_stopping_patience": 2},
        checkpoints={"every_steps": 1000},
    )
    assert train(rundir) == 0
    losses = {event.step: event.values["eval_loss"] for event in events(rundir, "metric") if event.split == "eval"}
    best = min(losses, key=losses.__getitem__)
    assert best < max(losses) < 150
    assert same_weights(rundir.final, rundir.checkpoint(best))
    assert not same_weights(rundir.final, rundir.checkpoint(max(losses)))
    assert [event.best for event in events(rundir, "checkpoint") if event.step == best] == [True]


def test_the_best_and_the_last_checkpoint_stay(make_run, train, events, tmp_path):
    other = tmp_path / "other.jsonl"  # the surer the run is of its own words, the less it expects these
    messages = [{"role": "user", "content": "say Q"}, {"role": "assistant", "content": "Q9 Z7 X5 #!"}]
    other.write_text(json.dumps({"messages": messages}) + "\n")
    rundir = make_run(
        training={"epochs": 15, "learning_rate": 0.03},
        adapter={"type": "none"},
        data={"eval": str(other)},
        evaluation={"every_steps": 5},
        checkpoints={"every_steps": 5, "keep": 2},
    )
    assert train(rundir) == 0
    losses = {event.step: event.values["eval_loss"] for event in events(rundir, "metric") if event.split == "eval"}
    best, last = min(losses, key=losses.__getitem__), max(losses)
    assert best < last - 5, "the test needs a run whose loss goes up again"
    assert rundir.checkpoint_steps() == [best, last]
    written = {event.step for event in events(rundir, "checkpoint")}
    assert written - {event.step for event in events(rundir, "checkpoint_removed")} == {best, last}
