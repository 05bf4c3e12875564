"""The views that dashboards read."""

from typing import Any

from sqlalchemy import text

from runyard.db.database import Database
from runyard.db.tables import Job

ROW: dict[str, Any] = {"kind": "sft", "name": "n", "spec": {}, "resolved_spec": {}, "priority": "normal"}
ROW |= {"user": "mia", "queued_at": 1.0, "updated_at": 1.0}


def job(id_: str, state: str, at: float, tenant: str = "main", **values: Any) -> Job:
    return Job(id=id_, state=state, created_at=at, tenant=tenant, **{**ROW, **values})


def best(name: str, value: float) -> dict[str, Any]:
    return {"best_name": name, "best_value": value, "best_step": 1, "experiment": "support"}


async def rows(database: Database, query: str) -> list[dict[str, Any]]:
    async with database.read() as session:
        return [dict(row) for row in (await session.execute(text(query))).mappings()]


async def test_jobs_that_are_queued_or_hold_a_machine(database: Database) -> None:
    async with database.write() as session:
        session.add_all([job("a", "queued", 1), job("b", "running", 2, last_loss=0.5), job("c", "completed", 3)])
        session.add_all([job("d", "paused", 4), job("e", "running", 5, removed_at=6.0)])
    found = await rows(database, "SELECT * FROM active_training_jobs ORDER BY created_at")
    assert [(row["job_id"], row["status"], row["last_loss"]) for row in found] == [
        ("a", "queued", None), ("b", "running", 0.5),
    ]  # fmt: skip


async def test_each_experiment_with_the_best_of_its_runs(database: Database) -> None:
    async with database.write() as session:
        session.add_all(
            [
                job("a", "completed", 1, **best("loss", 0.1), training_seconds=5.0),
                job("b", "completed", 2, **best("eval_loss", 0.9), training_seconds=7.0),
                job("c", "failed", 3, **best("eval_loss", 0.8)),
                job("d", "queued", 4, experiment="support"),
                job("e", "completed", 5, tenant="other", **best("eval_loss", 0.1)),
                job("f", "completed", 6, **best("eval_loss", 0.1), removed_at=7.0),
                job("g", "queued", 8, experiment="new"),
                job("h", "completed", 9),
            ]
        )
    found = await rows(database, "SELECT * FROM experiment_summary ORDER BY tenant, experiment DESC")
    names = ("tenant", "experiment", "runs", "completed_runs", "failed_runs", "best_job_id", "best_metric_name")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("main", "support", 4, 2, 1, "c", "eval_loss"),
        ("main", "new", 1, 0, 0, None, None),
        ("other", "support", 1, 1, 0, "e", "eval_loss"),
    ]
    assert (found[0]["best_metric"], found[0]["training_seconds"]) == (0.8, 12.0)
    assert (found[0]["first_run_at"], found[0]["last_run_at"]) == (1, 4)
