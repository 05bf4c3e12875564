"""Rollups and curves kept up as points come: the same as if all had been counted anew, whatever comes when."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from runyard.db.database import Database
from runyard.db.queries import metrics, rollups, series
from runyard.db.tables import Job, Rollup, Series
from runyard.domain.packing import POINTS
from runyard.services import curves
from runyard.services.curves import Wanted

ROW: dict[str, Any] = {"kind": "sft", "name": "n", "spec": {}, "resolved_spec": {}, "priority": "normal"}
ROW |= {"tenant": "main", "user": "local", "created_at": 1.0, "queued_at": 1.0, "updated_at": 1.0}
Points = Mapping[tuple[str, int], Mapping[str, float | None]]


@pytest.fixture
async def job(database: Database) -> str:
    async with database.write() as session:
        session.add(Job(id="j", state="running", **ROW))
    return "j"


async def write(database: Database, points: Points, attempt: int = 1, forget_after: int | None = None) -> None:
    """As the engine does with what a trainer has said."""
    new = {key: {"attempt": attempt, "at": 1e9 + key[1] / 4, "values": dict(values)} for key, values in points.items()}
    feed = [{"type": "metric", "at": point["at"], "data": {"attempt": attempt}} for point in new.values()]
    async with database.write() as session:
        job = await session.get_one(Job, "j")
        count = await rollups.begin(session, job)
        if forget_after is not None:
            await metrics.forget_after(session, "j", forget_after)
            await rollups.forget_after(session, count, forget_after)
        changes = await metrics.record(session, "j", new)
        await rollups.take(session, count, feed, changes)
        job.events_offset += 1


async def check(database: Database) -> dict[str, Any]:
    """What is kept is what the points come to; what is read of each curve is what its points are."""
    async with database.read() as session:
        kept = await rollups.of_job(session, "j")
        assert kept is not None
        rows = await metrics.of_job(session, "j")
        anew = type(kept)(sealed=dict(kept.sealed))
        await series.recount(session, "j", anew)
        flat = type(kept)()
        for row in rows:
            flat.take(row.split, row.step, {}, row.values)
        assert _plain(kept.tallies) == pytest.approx(_plain(flat.tallies))
        assert _plain(anew.tallies) == pytest.approx(_plain(flat.tallies))
        assert {s: n for s, n in kept.loose.items() if n} == {s: n for s, n in anew.loose.items() if n}
        found = await curves.read(session, "j", Wanted(points=10**6))
    for name, curve in found["series"].items():
        split = curve["split"]
        value = name.removeprefix("eval/")
        expected = [(row.step, row.values[value]) for row in rows if row.split == split and value in row.values]
        assert list(zip(curve["step"], curve["last"], strict=True)) == expected, name
    return found


def _plain(tallies: Any) -> dict[tuple[str, str, int], Any]:
    return {
        (split, name, part): value
        for split, names in tallies.items()
        for name, tally in names.items()
        for part, value in enumerate(tally.parts())
    }


def trained(*steps: int, **more: float) -> dict[tuple[str, int], dict[str, float | None]]:
    return {
        ("train", step): {"loss": None if step % 97 == 0 else 100 / (step + 1), "learning_rate": 1e-4, **more}
        for step in steps
    }


async def blocks(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Series).where(Series.name == "loss")) or 0


async def test_points_become_blocks_as_they_come(database: Database, job: str) -> None:
    chance = random.Random(3)
    step, last = 1, 3 * POINTS + 50
    while step <= last:
        steps = range(step, min(last + 1, step + chance.choice([1, 7, 300])))
        points: dict[tuple[str, int], Mapping[str, float | None]] = {**trained(*steps)}
        if steps[-1] % 3 == 0:
            points[("eval", steps[-1])] = {"eval_loss": 1.0 / steps[-1]}
        await write(database, points)
        step = steps[-1] + 1
    assert await blocks(database) == 2, "as many points as one block has stay loose"
    found = await check(database)
    assert found["names"] == ["loss", "learning_rate", "eval_loss"]


@pytest.mark.parametrize("step", [0, 500, POINTS, POINTS + 1, 2 * POINTS + 500, 3 * POINTS])
async def test_what_a_resumed_attempt_makes_void_counts_no_more(database: Database, job: str, step: int) -> None:
    await write(database, trained(*range(1, 3 * POINTS + 1)))
    await write(database, trained(step + 1, step + 2, loss=3.0), attempt=2, forget_after=step)
    found = await check(database)
    assert found["series"]["loss"]["step"][-1] == step + 2
    await write(database, trained(*range(step + 3, step + 2 * POINTS + 3)), attempt=2)
    await check(database)


async def test_late_points_and_points_that_change_are_counted_as_they_are(database: Database, job: str) -> None:
    await write(database, trained(*range(10, 20 * POINTS, 5)))
    assert await blocks(database) > 1
    await write(database, trained(3, 11, 4 * POINTS + 1, 20 * POINTS - 4))
    await check(database)
    await write(database, {("train", 15): {"extra": 5.0}, ("train", 3): {"loss": -50.0}})
    found = await check(database)
    assert found["series"]["extra"]["step"] == [15]
    await write(database, {("train", 15): {"loss": 1.0}}, attempt=2)
    await check(database)


async def test_a_job_of_an_earlier_version_is_counted_when_it_goes_on(database: Database, job: str) -> None:
    await write(database, trained(*range(1, 2 * POINTS + 100)))
    async with database.write() as session:
        await session.execute(delete(Rollup))
        await session.execute(delete(Series))
    async with database.read() as session:
        assert await rollups.missing(session, 5) == ["j"]
        before = await curves.read(session, "j", Wanted(points=10**6))
    assert len(before["series"]["loss"]["step"]) == 2 * POINTS + 99, "until then its curves are made of its points"
    await write(database, trained(2 * POINTS + 100))
    await check(database)
    assert await blocks(database) == 1
    async with database.read() as session:
        assert await rollups.missing(session, 5) == []


async def test_a_part_of_a_curve_is_smoothed_as_if_it_were_the_whole(database: Database, job: str) -> None:
    await write(database, trained(*range(1, 3 * POINTS)))
    async with database.read() as session:
        whole = await curves.read(session, "j", Wanted(["loss"], 10**6, smooth=0.9))
        part = await curves.read(session, "j", Wanted(["loss"], 10**6, first_step=2000, last_step=2010, smooth=0.9))
        thin = await curves.read(session, "j", Wanted(["loss"], 10, smooth=0.9))
    smooth = dict(zip(whole["series"]["loss"]["step"], whole["series"]["loss"]["smooth"], strict=True))
    for curve in (part["series"]["loss"], thin["series"]["loss"]):
        expected = [smooth[step] for step in curve["step"]]
        assert curve["smooth"] == [None if value is None else pytest.approx(value, abs=1e-6) for value in expected]
    assert part["series"]["loss"]["step"] == list(range(2000, 2011))


async def test_few_points_show_all_there_is_of_each_value(database: Database, job: str) -> None:
    points = trained(*range(1, 2 * POINTS + 200))
    points[("train", 700)] = {"loss": 1e6, "learning_rate": 1e-4}
    await write(database, points)
    async with database.read() as session:
        shown = await curves.points(session, "j", None, -1, 40)
        tail = await curves.points(session, "j", "train", 2 * POINTS + 190, 40)
        assert await curves.points(session, "j", "eval", -1, 40) == []
    assert len([point for point in shown if "loss" in point.values]) <= 40
    assert next(point.values["loss"] for point in shown if point.step == 700) == 1e6
    assert any(point.values.get("loss", 0) is None for point in shown)
    assert [point.step for point in tail] == list(range(2 * POINTS + 191, 2 * POINTS + 200))


async def test_lists_show_what_a_job_has_come_to(database: Database, job: str) -> None:
    speed = {"samples_per_second": 8.0, "iteration_seconds": 0.5, "gpu_utilization_percent": 90.0, "gpu_memory_mb": 5e3}
    await write(database, {("train", 1): {"loss": 2.0, **speed}, ("eval", 1): {"eval_loss": 2.5}})
    async with database.read() as session:
        row = await session.get_one(Job, "j")
    assert row.best == {"name": "eval_loss", "value": 2.5, "step": 1}
    assert (row.last_loss, row.throughput, row.gpu_utilization, row.peak_gpu_memory_mb) == (2.0, 8.0, 90.0, 5000.0)
