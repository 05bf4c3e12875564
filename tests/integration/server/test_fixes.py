"""Failed jobs: what the server advises, the changed copy, and what a plain retry insists on."""

import time
from typing import Any

import pytest

from runyard.db.queries import attempts, checkpoints, events, jobs
from runyard.db.tables import Job
from runyard.domain.access import LOCAL
from runyard.domain.errors import InvalidError
from runyard.domain.lifecycle import Cause
from runyard.protocol.specs import job_spec
from runyard.server.deps import Yard
from runyard.services import sources
from runyard.services.context import Context
from runyard.services.submissions import Submission


class Run:
    """Leaves rows as engine and trainer do."""

    def __init__(self, yard: Yard, job_id: str) -> None:
        self.yard = yard
        self.id = job_id

    async def begin(self, gpus: tuple[int, ...] = ()) -> None:
        async with self.yard.database.write() as session:
            job = await jobs.get(session, self.id)
            assert job is not None
            for cause in (Cause.PLACED, Cause.STARTED):
                await jobs.apply_move(session, job, cause, "engine", time.time())
            job.attempts = 1
            row = attempts.Attempt(id=f"{self.id}-1", job_id=self.id, number=1, executor="local", gpus=list(gpus))
            row.created_at = row.started_at = time.time()
            session.add(row)
            job.snapshot = {"attempt": 1, "phase": "training", "step": 7}

    async def chose(self, **choices: Any) -> None:
        rows = [
            {
                "attempt": 1,
                "level": "info",
                "text": "",
                "data": {"choice": {"field": f"training.{name}", "value": value}},
            }
            for name, value in choices.items()
        ]
        async with self.yard.database.write() as session:
            for data in rows:
                await events.append(session, self.id, time.time(), "message", data)

    async def checkpoint(self, step: int) -> None:
        folder = self.yard.context.rundir(self.id).checkpoint(step)
        folder.mkdir(parents=True)
        values = {"attempt": 1, "size_bytes": 1, "metrics": {}, "best": False, "files": {}, "created_at": 1.0}
        async with self.yard.database.write() as session:
            await checkpoints.record(session, self.id, step, values | {"path": f"checkpoints/{folder.name}"})

    async def end(self, cause: Cause, reason: str | None = None, seconds: float = 1.0) -> None:
        now = time.time()
        async with self.yard.database.write() as session:
            job = await jobs.get(session, self.id)
            assert job is not None
            [attempt] = await attempts.of_job(session, self.id)
            attempt.started_at, attempt.ended_at = now - seconds, now
            await jobs.apply_move(session, job, cause, "engine", now, reason=reason, message=reason)


@pytest.fixture
async def out_of_memory(api: Any, yard: Yard) -> Run:
    """A job on a GPU that has a checkpoint of step 5 and ran out of memory at step 7."""
    run = Run(yard, await api.job(name="orders", training={"epochs": 2}))
    await run.begin(gpus=(0,))
    await run.chose(batch_size=16, micro_batch_size=8)
    await run.checkpoint(5)
    await run.end(Cause.FAILED, "gpu_out_of_memory")
    return run


async def test_a_failed_job_comes_with_advice(api: Any, out_of_memory: Run) -> None:
    shown = (await api.get(f"/api/v1/jobs/{out_of_memory.id}")).json()
    assert shown["advice"]["explanation"].startswith("The memory of the GPU ran out.")
    assert shown["advice"]["choices"][0]["changes"] == [
        {"field": "training.batch_size", "from": 16, "to": 16},
        {"field": "training.micro_batch_size", "from": 8, "to": 4},
    ]
    assert shown["advice"]["choices"][0]["goes_on"] is True


async def test_each_choice_says_what_is_to_be_expected_of_it(api: Any, yard: Yard, out_of_memory: Run) -> None:
    """From the pace that the job had itself: 0.5 s a step, of 25 steps."""
    async with yard.database.write() as session:
        job = await session.get_one(Job, out_of_memory.id)
        job.snapshot = {**job.snapshot, "total_steps": 25, "iteration_seconds": 0.5}
    choices = (await api.get(f"/api/v1/jobs/{out_of_memory.id}")).json()["advice"]["choices"]
    assert [change["field"] for choice in choices for change in choice["changes"]] == [
        "training.batch_size", "training.micro_batch_size", "training.activation_checkpointing", "model.quantization",
        "training.max_length",
    ]  # fmt: skip
    assert [(choice["goes_on"], choice["from_step"]) for choice in choices] == [
        (True, 5), (True, 5), (False, 0), (False, 0),
    ]  # fmt: skip
    assert [choice["seconds"] for choice in choices] == [10, pytest.approx(40 / 3), None, 12.5]


async def test_a_job_without_a_step_is_expected_to_take_what_those_like_it_took(api: Any, yard: Yard) -> None:
    run = Run(yard, await api.job(training={"learning_rate": 0.3}))
    async with yard.database.write() as session:
        job = await session.get_one(Job, run.id)
        job.estimated_seconds = 90.0
    await run.begin()
    await run.end(Cause.FAILED, "loss_exploded")
    choices = (await api.get(f"/api/v1/jobs/{run.id}")).json()["advice"]["choices"]
    assert [(choice["from_step"], choice["seconds"]) for choice in choices] == [(0, 90.0), (0, 90.0)]


async def test_another_choice_is_another_job_and_one_that_is_not_there_is_named(api: Any, out_of_memory: Run) -> None:
    asked = [{"fix": True, "choice": number} for number in (2, 2, 1)]
    answers = [await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry", json=how) for how in asked]
    second, again, first = (answer.json() for answer in answers)
    assert second["spec"]["training"] == {"epochs": 2, "activation_checkpointing": True}
    assert second["id"] == again["id"] != first["id"]
    assert first["spec"]["training"]["micro_batch_size"] == 4
    refused = await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry", json={"fix": True, "choice": 5})
    assert refused.status_code == 422, refused.text
    assert refused.json()["problems"][0]["message"] == "must be from 1 to 4"


async def test_a_fix_that_was_cancelled_can_be_asked_for_again(api: Any, out_of_memory: Run) -> None:
    ask = f"/api/v1/jobs/{out_of_memory.id}/retry"
    first = (await api.post(ask, json={"fix": True})).json()["id"]
    await api.post(f"/api/v1/jobs/{first}/cancel")
    second, third = [(await api.post(ask, json={"fix": True})).json()["id"] for _ in range(2)]
    assert first != second == third


async def test_a_fix_is_a_new_job_that_goes_on_from_the_checkpoint(api: Any, yard: Yard, out_of_memory: Run) -> None:
    answer = await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry", json={"fix": True})
    assert answer.status_code == 200, answer.text
    fixed = answer.json()
    assert (fixed["parent_id"], fixed["name"], fixed["state"]) == (out_of_memory.id, "orders", "queued")
    assert fixed["spec"]["training"] == {"epochs": 2, "batch_size": 16, "micro_batch_size": 4}
    assert fixed["spec"]["continue_from"] == f"{out_of_memory.id}:5"
    async with yard.database.read() as session:
        row = await jobs.get(session, fixed["id"])
    assert row is not None
    folder = yard.context.rundir(out_of_memory.id).checkpoint(5)
    assert row.resolved_spec["continue_from"] == str(folder)
    assert row.resolved_spec["training"]["micro_batch_size"] == 4
    old = (await api.get(f"/api/v1/jobs/{out_of_memory.id}")).json()
    assert old["state"] == "failed"
    told = (await api.get(f"/api/v1/jobs/{out_of_memory.id}/events")).json()["items"][-1]["data"]
    assert told["data"] == {"fixed_by": fixed["id"]}
    assert "training.micro_batch_size: 8 -> 4" in told["text"]


async def test_a_fix_asked_for_twice_is_one_job_also_when_the_queue_is_full(api: Any, out_of_memory: Run) -> None:
    first = await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry", json={"fix": True})
    for _ in range(4):
        await api.job()
    again = await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry", json={"fix": True})
    assert again.json()["id"] == first.json()["id"]


async def test_a_change_of_the_steps_starts_anew(api: Any, yard: Yard) -> None:
    run = Run(yard, await api.job(training={"learning_rate": 0.3}))
    await run.begin()
    await run.checkpoint(5)
    await run.end(Cause.FAILED, "loss_exploded")
    fixed = (await api.post(f"/api/v1/jobs/{run.id}/retry", json={"fix": True})).json()
    assert fixed["spec"]["training"] == {"learning_rate": 0.1, "warmup": 0.1}
    assert "continue_from" not in fixed["spec"]


async def test_what_cannot_be_fixed_is_refused_with_the_advice(api: Any, yard: Yard) -> None:
    run = Run(yard, await api.job())
    refused = await api.post(f"/api/v1/jobs/{run.id}/retry", json={"fix": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_ready")
    await run.begin()
    await run.end(Cause.FAILED, "model_not_found")
    refused = await api.post(f"/api/v1/jobs/{run.id}/retry", json={"fix": True})
    assert refused.status_code == 409
    assert "Check its name" in refused.json()["hint"]
    assert (await api.post(f"/api/v1/jobs/{run.id}/retry", json={"fixx": True})).status_code == 422
    alone = await api.post(f"/api/v1/jobs/{run.id}/retry", json={"choice": 2})
    assert alone.status_code == 422
    assert "it needs fix: true" in alone.text


async def test_a_plain_retry_changes_nothing(api: Any, out_of_memory: Run) -> None:
    before = (await api.get(f"/api/v1/jobs/{out_of_memory.id}")).json()
    after = (await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry")).json()
    assert (after["id"], after["spec"], after["state"], after["advice"]) == (
        before["id"],
        before["spec"],
        "queued",
        None,
    )


@pytest.mark.parametrize("how", [{}, {"fix": True}])
async def test_data_that_have_changed_are_not_trained_on(
    api: Any, yard: Yard, context: Context, out_of_memory: Run, how: dict[str, bool]
) -> None:
    [file] = context.datasets.glob("*/orders.jsonl")
    content = file.read_bytes()
    file.write_bytes(content.replace(b"six", b"ten"))
    refused = await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry", json=how)
    assert refused.status_code == 422
    assert refused.json()["problems"] == [
        {"field": "data.train", "message": "orders.jsonl has changed since the job was submitted", "file": None,
         "line": None}
    ]  # fmt: skip
    assert f"--continue {out_of_memory.id}" in refused.json()["hint"]
    file.write_bytes(content)
    assert (await api.post(f"/api/v1/jobs/{out_of_memory.id}/retry", json=how)).status_code == 200


async def test_a_new_job_can_start_from_a_checkpoint_of_another(api: Any, yard: Yard, out_of_memory: Run) -> None:
    await out_of_memory.checkpoint(10)
    for name, step in ((out_of_memory.id, 10), (f"{out_of_memory.id}:5", 5)):
        answer = await api.submit(continue_from=name)
        assert answer.status_code == 201, answer.text
        assert answer.json()["parent_id"] == out_of_memory.id
        assert answer.json()["spec"]["continue_from"] == name
        async with yard.database.read() as session:
            row = await jobs.get(session, answer.json()["id"])
        assert row is not None
        assert row.resolved_spec["continue_from"] == str(yard.context.rundir(out_of_memory.id).checkpoint(step))


@pytest.mark.parametrize("name", ["nobody", "nobody:3", "/etc", "{id}:6", "{id}:", "{id}:x", "{id}:../5", "{fresh}"])
async def test_checkpoints_that_are_not_there_are_named(api: Any, out_of_memory: Run, name: str) -> None:
    answer = await api.submit(continue_from=name.format(id=out_of_memory.id, fresh=await api.job()))
    if name == "{id}:":
        assert answer.status_code == 201
        return
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["problems"]] == ["continue_from"]


async def test_a_checkpoint_that_is_removed_while_a_job_is_looked_at_is_missed(yard: Yard, out_of_memory: Run) -> None:
    asked = {"kind": "sft", "model": "owner/model", "data": "owner/rows", "continue_from": out_of_memory.id}
    spec = job_spec.validate_python(asked)
    resolved = await sources.resolve(yard.database, spec, LOCAL, yard.context)
    yard.context.rundir(out_of_memory.id).checkpoint(5).rmdir()
    with pytest.raises(InvalidError) as refused:
        await yard.intake.submit(Submission(spec, resolved, "new", LOCAL, "me", time.time()), {})
    assert [problem.field for problem in refused.value.problems] == ["continue_from"]


async def test_jobs_like_finished_ones_are_given_a_duration(api: Any, yard: Yard) -> None:
    asked = {"training": {"max_steps": 100, "batch_size": 4}}
    assert (await api.submit(**asked)).json()["estimated_seconds"] is None
    for seconds in (10.0, 20.0, 300.0):
        run = Run(yard, await api.job(**asked))
        await run.begin()
        await run.end(Cause.COMPLETED, seconds=seconds)
    same = (await api.submit(**asked)).json()
    assert same["estimated_seconds"] == pytest.approx(20, rel=1e-3)
    longer = (await api.submit(training={"max_steps": 300, "batch_size": 4})).json()
    assert longer["estimated_seconds"] == pytest.approx(60, rel=1e-3)
    other = (await api.submit(model="owner/other", **asked)).json()
    assert other["estimated_seconds"] is None
