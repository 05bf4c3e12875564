"""Figures over HTTP, in the shapes that earlier clients rely on."""

import csv
import io
from typing import Any

import pytest

from runyard.db.queries import jobs, metrics, rollups
from runyard.domain.lifecycle import Cause
from runyard.server.deps import Yard

SHAPE = {
    "duration": {"total_seconds", "training_seconds", "overhead_seconds"},
    "performance": {
        "average_samples_per_second", "peak_samples_per_second", "average_iteration_time", "total_iterations",
        "total_samples",
    },
    "resource_utilization": {
        "average_gpu_utilization", "peak_gpu_memory_mb", "average_gpu_memory_mb", "average_gpu_temp_celsius",
        "peak_gpu_temp_celsius",
    },
    "checkpoints": {"total_checkpoints", "checkpoint_frequency_steps", "best_checkpoint", "final_checkpoint"},
    "losses": {"initial_loss", "final_loss", "best_loss", "loss_reduction_percent"},
    "efficiency": {"gpu_utilization_score", "throughput_score", "overall_score"},
}  # fmt: skip


async def run(yard: Yard, job_id: str, speed: float, loss: float, seconds: float = 10.0, **more: float) -> None:
    """A job that runs for so long, from ten seconds after it was submitted on, as the engine writes it."""
    async with yard.database.write() as session:
        job = await jobs.get(session, job_id)
        assert job is not None
        began = job.created_at + 10
        await jobs.apply_move(session, job, Cause.PLACED, "engine", began)
        await jobs.apply_move(session, job, Cause.STARTED, "engine", began)
        values = {"loss": loss, "samples_per_second": speed, "iteration_seconds": 2.0, **more}
        points = {("train", step): {"attempt": 1, "at": began + step, "values": values} for step in (1, 2)}
        feed = [{"type": "phase", "at": began + 1, "data": {"attempt": 1, "phase": "training"}}]
        feed += [{"type": "finished", "at": began + seconds, "data": {"attempt": 1}}]
        count = await rollups.begin(session, job)
        await rollups.take(session, count, feed, await metrics.record(session, job_id, points))
        await jobs.apply_move(session, job, Cause.COMPLETED, "engine", began + seconds)
    yard.hub.notify()


async def test_one_job_has_all_its_figures(api: Any, yard: Yard) -> None:
    job, other = await api.job(), await api.job()
    await run(yard, job, 3.0, 2.0, gpu_utilization_percent=50.0, gpu_memory_mb=1000.0)
    await run(yard, other, 4.0, 1.0)
    body = (await api.get(f"/api/v1/jobs/{job}/analytics")).json()
    assert set(body) == {"job_id", "status", "warnings", *SHAPE}
    assert {part: set(body[part]) for part in SHAPE} == SHAPE
    assert (body["job_id"], body["status"], body["warnings"]) == (job, "completed", [])
    assert body["duration"] == pytest.approx({"total_seconds": 10, "training_seconds": 9, "overhead_seconds": 1})
    assert body["performance"]["total_samples"] == 12, "two steps of six"
    assert body["efficiency"] == {"gpu_utilization_score": 50, "throughput_score": 75, "overall_score": 62.5}


async def test_what_is_not_known_is_null_and_said(api: Any) -> None:
    body = (await api.get(f"/api/v1/jobs/{await api.job()}/analytics")).json()
    assert {part: set(body[part]) for part in SHAPE} == SHAPE
    assert body["duration"]["total_seconds"] is None
    assert len(body["warnings"]) == 3
    assert (await api.get("/api/v1/jobs/nosuchjob/analytics")).status_code == 404


async def test_all_together(api: Any, yard: Yard) -> None:
    empty = (await api.get("/api/v1/analytics/summary")).json()
    assert (empty["total_jobs"], empty["top_performing_jobs"], len(empty["warnings"])) == (0, [], 3)
    slow, quick, waits = await api.job(), await api.job(), await api.job()
    await run(yard, slow, 3.0, 2.0, seconds=19.0, gpu_utilization_percent=50.0, gpu_memory_mb=1000.0)
    await run(yard, quick, 5.0, 2.0, seconds=10.0)
    body = (await api.get("/api/v1/analytics/summary")).json()
    assert body.pop("jobs_by_status") == {
        "queued": 1, "starting": 0, "running": 0, "pausing": 0, "paused": 0, "cancelling": 0, "completed": 2,
        "failed": 0, "cancelled": 0,
    }  # fmt: skip
    top = body.pop("top_performing_jobs")
    assert [(one["job_id"], one["throughput"]) for one in top] == [(quick, 5.0), (slow, 3.0)]
    assert [one["duration"] for one in top] == pytest.approx([10, 19])
    assert body.pop("resource_trends") == {"average_gpu_utilization": 50.0, "average_peak_memory_mb": 1000.0}
    assert body == {
        "total_jobs": 3,
        "average_training_duration_seconds": pytest.approx(13.5),  # of 18 and 9
        "total_training_time_hours": pytest.approx(27 / 3600),
        "average_throughput_samples_per_sec": 4.0,
        "warnings": [],
    }
    assert waits


async def test_side_by_side(api: Any, yard: Yard) -> None:
    one = await api.job(name="one", training={"learning_rate": 1e-4})
    two = await api.job(name="=two", training={"learning_rate": 2e-4, "epochs": 2})
    await run(yard, one, 3.0, 2.0, seconds=19.0)
    await run(yard, two, 5.0, 3.0, seconds=10.0)
    path = f"/api/v1/analytics/compare?job_ids={one},{two}"
    body = (await api.get(path)).json()
    assert [job["job_id"] for job in body["jobs"]] == [one, two]
    first = body["jobs"][0]
    assert {"job_id", "duration_seconds", "throughput", "final_loss", "gpu_utilization"} <= set(first)
    assert (first["throughput"], first["final_loss"], first["gpu_utilization"]) == (3.0, 2.0, None)
    assert body["winner"] == {"best_throughput": two, "best_loss": one, "fastest": two, "most_efficient": two}
    assert body["differences"] == {
        "training.learning_rate": {one: 1e-4, two: 2e-4},
        "training.epochs": {one: 1.0, two: 2.0},
    }
    assert body["best_metrics"][two]["loss"] == {"lowest": 3.0, "highest": 3.0, "last": 3.0}
    assert str(yard.context.home) not in str(body), "where files lie is nobody's business"
    sheet = await api.get(f"{path}&format=csv")
    assert sheet.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert [(row["job_id"], row["throughput"], row["training.epochs"]) for row in rows] == [
        (one, "3.0", "1.0"), (two, "5.0", "2.0"),
    ]  # fmt: skip
    assert rows[1]["name"] == "'=two", "no formula"


@pytest.mark.parametrize("count", [0, 1, 51])
async def test_too_few_or_too_many_side_by_side_are_refused(api: Any, count: int) -> None:
    ids = ",".join(f"job{n}" for n in range(count))
    refused = await api.get("/api/v1/analytics/compare", params={"job_ids": ids})
    assert refused.status_code == 422
    assert "2 to 50" in refused.text
    assert (await api.get("/api/v1/analytics/compare?job_ids=a,b")).status_code == 404


async def test_over_time(api: Any, yard: Yard) -> None:
    from runyard.db.tables import Attempt

    job = await api.job()
    await run(yard, job, 3.0, 2.0, seconds=3600.0)
    broken = await api.job()
    async with yard.database.write() as session:
        row = await jobs.get(session, broken)
        assert row is not None
        await jobs.apply_move(session, row, Cause.PLACED, "engine", row.created_at + 20)
        await jobs.apply_move(session, row, Cause.FAILED, "engine", row.created_at + 30, reason="disk_full")
        at = row.created_at
        session.add(
            Attempt(id="a", job_id=broken, number=1, executor="local", gpus=[0, 1], created_at=at, started_at=at,
                    ended_at=at + 1800)
        )  # fmt: skip
    span = {"since": at, "until": at + 3 * 86400}
    body = (await api.get("/api/v1/analytics/trends", params=span)).json()
    assert (body["tenant"], body["by"], body["warnings"]) == ("main", "day", [])
    periods = body["periods"]
    assert sum(period["gpu_hours"] for period in periods) == pytest.approx(1.0)
    assert sum(period["ended"] for period in periods) == 2
    assert sum(period["waits"]["count"] for period in periods) == 2
    assert max(period["waits"]["p95"] or 0 for period in periods) == pytest.approx(20)
    assert [period["failures"] for period in periods if period["failures"]] == [{"disk_full": 1}]
    assert [period["throughput"] for period in periods if period["throughput"]] == [3.0]
    assert {user["user"] for period in periods for user in period["users"]} == {"local"}
    weeks = (await api.get("/api/v1/analytics/trends", params={"by": "week"})).json()
    assert 5 <= len(weeks["periods"]) <= 6
    for bad in ({"since": 10, "until": 5}, {"since": 0, "until": 1e10}):
        assert (await api.get("/api/v1/analytics/trends", params=bad)).status_code == 422
