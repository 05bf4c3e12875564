"""A training that fails, is advised, changed and completed: with the real server and real trainings."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from runyard.domain.lifecycle import State
from runyard.schemas.jobs import JobDetail
from runyard.sdk.errors import ApiError
from runyard.testing.live import LiveYard
from runyard.testing.tiny import WORDS, save_tiny_model

pytestmark = pytest.mark.llm


@pytest.fixture
def spec(yard: LiveYard, tmp_path: Path) -> dict[str, Any]:
    save_tiny_model(yard.home / "models" / "tiny")
    rows = [{"prompt": f"say {n} ", "completion": " ".join(WORDS[n % 7 :][:6])} for n in range(32)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    training = {"max_steps": 30, "batch_size": 4, "max_length": 64, "schedule": "constant", "warmup": 0}
    return {
        "kind": "sft", "model": "tiny", "data": str(data), "training": training,
        "adapter": {"type": "none"}, "checkpoints": {"every_steps": 5},
    }  # fmt: skip


def with_training(spec: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return spec | {"training": spec["training"] | changes}


def run(yard: LiveYard, *arguments: str) -> str:
    command = [sys.executable, "-m", "runyard.cli.main", "--url", yard.url, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_a_learning_rate_that_explodes_is_lowered_until_it_does_not(yard: LiveYard, spec: dict[str, Any]) -> None:
    spec = with_training(spec, learning_rate=2.0, optimizer="sgd", max_grad_norm=1e6)
    job = yard.wait_for_end(yard.client.submit(spec).id)
    assert job.state == State.FAILED
    assert job.reason in ("loss_exploded", "loss_not_finite")
    shown = run(yard, "jobs", "show", job.id)
    assert "training.learning_rate: 2.0 -> " in shown
    assert f"runyard jobs retry {job.id} --fix" in shown
    assert "Loss by step: highest " in httpx.get(f"{yard.url}/jobs/{job.id}").text
    for _ in range(4):
        line = run(yard, "jobs", "retry", job.id, "--fix").splitlines()[0]
        assert line.endswith("starts anew")
        child = yard.wait_for_end(line.split()[0])
        assert child.parent_id == job.id
        assert child.spec["training"]["learning_rate"] < job.spec["training"]["learning_rate"]
        if child.state == State.COMPLETED:
            break
        job = child
    assert child.state == State.COMPLETED
    steps = [metric.step for metric in yard.client.metrics(child.id)]
    assert steps == list(range(1, 31))
    page = httpx.get(f"{yard.url}/jobs/{job.id}").text
    before = page[page.index("Went well before") :]
    assert f"/jobs/{child.id}" in before
    assert f"with training.learning_rate {child.spec['training']['learning_rate']}" in before


def test_the_engine_follows_the_advice_of_a_job_that_asks_for_it(yard: LiveYard, spec: dict[str, Any]) -> None:
    spec = with_training(spec, learning_rate=2.0, optimizer="sgd", max_grad_norm=1e6)
    job = yard.client.submit(spec | {"limits": {"apply_advice": True}})
    jobs = [yard.wait_for_end(job.id)]
    while jobs[-1].state == State.FAILED and (child := follower(yard, jobs[-1])):
        jobs.append(yard.wait_for_end(child))
    assert jobs[-1].state == State.COMPLETED
    assert len(jobs) >= 2
    assert [job.parent_id for job in jobs[1:]] == [job.id for job in jobs[:-1]]


def follower(yard: LiveYard, job: JobDetail) -> str | None:
    events = yard.client.events(job.id).items
    found = [event.data["data"]["fixed_by"] for event in events if "fixed_by" in event.data.get("data", {})]
    return found[0] if found else None


def test_one_that_memory_killed_goes_on_in_smaller_parts_from_its_last_checkpoint(
    yard: LiveYard, spec: dict[str, Any]
) -> None:
    spec = with_training(spec, learning_rate=1e-3, max_steps=200) | {"limits": {"retries": 0}}
    job = yard.client.submit(spec)
    yard.wait_for_step(job.id, 12)
    for process in yard.trainers():
        if "runyard.trainers" in process.info["cmdline"]:
            process.kill()  # as the kernel does when memory runs out
    job = yard.wait_for_end(job.id)
    assert (job.state, job.reason) == (State.FAILED, "killed")
    assert "most likely main memory ran out" in (job.message or "")
    assert job.advice is not None
    changed = {change.field: (change.before, change.after) for change in job.advice.choices[0].changes}
    assert changed == {"training.micro_batch_size": (4, 2)}
    step = max(point.step for point in yard.client.checkpoints(job.id) if point.removed_at is None)
    child = yard.client.retry(job.id, fix=True)
    assert yard.client.retry(job.id, fix=True).id == child.id
    assert child.spec["continue_from"] == f"{job.id}:{step}"
    done = yard.wait_for_end(child.id)
    assert (done.state, done.message) == (State.COMPLETED, None)
    steps = [point.step for point in yard.client.metrics(done.id)]
    assert steps == list(range(step + 1, 201))
    similar = yard.client.submit(spec)
    yard.client.cancel(similar.id)
    assert similar.estimated_seconds == pytest.approx((done.finished_at or 0) - (done.started_at or 0), rel=0.5)


def test_submit_continue_begins_with_what_another_job_learned(
    yard: LiveYard, spec: dict[str, Any], tmp_path: Path
) -> None:
    first = yard.wait_for_end(yard.client.submit(with_training(spec, learning_rate=1e-2)).id)
    (tmp_path / "job.yaml").write_text(json.dumps(with_training(spec, learning_rate=1e-4)))
    output = run(yard, "submit", str(tmp_path / "job.yaml"), "--continue", f"{first.name}:25", "--watch")
    assert "begins with the weights of step 25 of another run" in output
    second = yard.client.find_job("last")
    assert (second.state, second.parent_id) == (State.COMPLETED, first.id)
    start = yard.client.metrics(second.id)[0].values["loss"]
    assert start is not None
    assert start < 0.8 * (yard.client.metrics(first.id)[0].values["loss"] or 0)


def test_a_retry_with_other_data_is_refused(yard: LiveYard, spec: dict[str, Any]) -> None:
    job = yard.wait_for_end(yard.client.submit(with_training(spec, learning_rate=2.0) | {"model": "no/model"}).id)
    assert job.reason == "model_not_found"
    [file] = (yard.home / "datasets").glob("*/rows.jsonl")
    file.chmod(0o600)
    file.write_text(file.read_text().replace("apple", "melon"))
    with pytest.raises(ApiError) as refused:
        yard.client.retry(job.id)
    assert refused.value.status == 422
    assert "has changed since the job was submitted" in str(refused.value.problems[0])
