"""Curves over HTTP, as charts ask for them."""

import time
from typing import Any

import pytest

from runyard.db.queries import jobs, metrics, rollups
from runyard.server.deps import Yard


async def report(yard: Yard, job_id: str, points: dict[tuple[str, int], dict[str, float | None]]) -> None:
    """As the engine writes what a trainer said."""
    new = {key: {"attempt": 1, "at": 1e9 + key[1], "values": values} for key, values in points.items()}
    feed = [{"type": "metric", "at": point["at"], "data": {"attempt": 1}} for point in new.values()]
    async with yard.database.write() as session:
        job = await jobs.get(session, job_id)
        assert job is not None
        count = await rollups.begin(session, job)
        changes = await metrics.record(session, job_id, new)
        await rollups.take(session, count, feed, changes)
        job.events_offset += 1


@pytest.fixture
async def long_job(api: Any, yard: Yard) -> str:
    """A hundred thousand steps would take a while to write; `bench analytics` reads them."""
    job: str = await api.job()
    points: dict[tuple[str, int], dict[str, float | None]] = {
        ("train", step): {"loss": 1 + 1 / step, "num_tokens": 10.0 * step} for step in range(1, 5001)
    }
    points[("train", 3333)] = {"loss": 99.0, "num_tokens": 33330.0}
    points[("train", 4444)] = {"loss": None, "num_tokens": 44440.0}
    points |= {("eval", step): {"eval_loss": 2.0, "runtime": 1.0} for step in (2500, 5000)}
    await report(yard, job, points)
    return job


async def test_a_long_curve_comes_thinned_with_its_spike_and_its_gap(api: Any, long_job: str) -> None:
    answer = await api.get(f"/api/v1/jobs/{long_job}/curves", params={"names": "loss,eval_loss", "points": 100})
    body = answer.json()
    loss = body["series"]["loss"]
    assert body["names"] == ["loss", "num_tokens", "eval_loss", "eval/runtime"]
    assert (loss["split"], body["series"]["eval_loss"]["split"]) == ("train", "eval")
    assert len(loss["step"]) == 101, "a bucket with a gap gives one more"
    assert max(value for value in loss["max"] if value is not None) == 99
    assert loss["last"][loss["step"].index(4444)] is None
    assert all(a < b for a, b in zip(loss["step"], loss["step"][1:], strict=False))
    assert body["series"]["eval_loss"]["step"] == [2500, 5000]
    assert body["x"]["step"] == loss["step"]
    assert body["x"]["tokens"] == [10 * step for step in loss["step"]]
    assert "smooth" not in loss
    assert len(answer.content) < 20_000


async def test_a_part_is_as_fine_as_the_whole_and_new_points_come_alone(api: Any, yard: Yard, long_job: str) -> None:
    path = f"/api/v1/jobs/{long_job}/curves"
    part = (await api.get(path, params={"names": "loss", "from_step": 3300, "to_step": 3399, "points": 100})).json()
    assert part["series"]["loss"]["step"] == list(range(3300, 3400))
    await report(yard, long_job, {("train", 5001): {"loss": 0.5}})
    new = (await api.get(path, params={"names": "loss", "after_step": 5000, "smooth": 0.5})).json()["series"]["loss"]
    assert (new["step"], new["last"]) == ([5001], [0.5])
    assert new["smooth"] == [pytest.approx(0.5 * 0.5 + 0.5 * 1, abs=1e-3)]
    assert (await api.get(path, params={"after_step": 2**40})).json()["series"]["loss"]["step"] == []


async def test_time_at_work_is_what_the_attempts_took(api: Any, yard: Yard, engine: Any) -> None:
    from runyard.db.tables import Attempt

    job = await api.job()
    async with yard.database.write() as session:
        for number, (began, ended) in enumerate(((1e9, 1e9 + 20), (1e9 + 95, None)), 1):
            session.add(
                Attempt(id=f"a{number}", job_id=job, number=number, executor="local", gpus=[], created_at=began,
                        started_at=began, ended_at=ended)
            )  # fmt: skip
    await report(yard, job, {("train", step): {"loss": 1.0} for step in (10, 20, 100)})
    body = (await api.get(f"/api/v1/jobs/{job}/curves")).json()
    assert body["x"] == {"step": [10, 20, 100], "seconds": [10.0, 20.0, 25.0]}


async def test_a_job_without_points_and_a_name_that_is_not_there(api: Any, long_job: str) -> None:
    empty = (await api.get(f"/api/v1/jobs/{await api.job()}/curves")).json()
    assert empty == {"x": {"step": [], "seconds": []}, "series": {}, "names": []}
    assert (await api.get(f"/api/v1/jobs/{long_job}/curves?names=nothing")).json()["series"] == {}
    assert (await api.get("/api/v1/jobs/nosuchjob/curves")).status_code == 404


async def test_few_metrics_of_many(api: Any, long_job: str) -> None:
    path = f"/api/v1/jobs/{long_job}/metrics"
    few = (await api.get(path, params={"points": 40})).json()
    assert len([point for point in few if "loss" in point["values"]]) <= 40
    assert {point["step"] for point in few} >= {1, 3333, 4444, 5000}
    assert len((await api.get(path)).json()) == 5002
    assert [p["step"] for p in (await api.get(path, params={"points": 40, "after_step": 4998})).json()] == [
        4999, 5000, 5000,
    ]  # fmt: skip
    for more in ({}, {"points": 40}):
        assert (await api.get(path, params={"after_step": 2**40, **more})).json() == []


@pytest.mark.parametrize("query", ["points=1", "points=4001", "smooth=1", "smooth=-0.1", "from_step=-1", "smooth=nan"])
async def test_what_makes_no_sense_is_refused(api: Any, long_job: str, query: str) -> None:
    assert (await api.get(f"/api/v1/jobs/{long_job}/curves?{query}")).status_code == 422


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_an_open_page_that_asks_again_gets_its_answer_at_once(api: Any, yard: Yard, long_job: str) -> None:
    began = time.monotonic()
    for step in range(5001, 5021):
        await report(yard, long_job, {("train", step): {"loss": 0.5}})
        body = (await api.get(f"/api/v1/jobs/{long_job}/curves?names=loss&after_step={step - 1}")).json()
        assert body["series"]["loss"]["step"] == [step]
    assert time.monotonic() - began < 20, "each is far below a second"
