"""What somebody else does between two steps of one request: nothing is decided by what is true no more."""

import asyncio
import time
from typing import Any

import pytest
from tests.integration.server.conftest import Api, Engine
from tests.integration.server.people import PASSWORD, People, settle

from runyard.db import database as databases
from runyard.db import sqlite
from runyard.db.queries import checkpoints, rollups, users
from runyard.db.queries import jobs as job_rows
from runyard.db.queries import metrics as points
from runyard.domain.lifecycle import Cause
from runyard.server.api import jobs as job_routes
from runyard.server.deps import Yard
from runyard.server.web import sparks
from runyard.services import datasets, passwords

NEW = "another horse battery"


async def test_a_password_that_an_admin_has_replaced_is_not_replaced_by_an_older_request(
    api: Api, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    people: People = await settle(yard)
    hashed, admins = passwords.hashed, "the admin's own words"

    async def meanwhile(password: str) -> str:
        if password == NEW:
            answer = await api.patch("/api/v1/users/max", json={"password": admins}, headers=people.headers("admin"))
            assert answer.status_code == 200, answer.text
        return await hashed(password)

    monkeypatch.setattr(passwords, "hashed", meanwhile)
    ask = {"old": PASSWORD, "new": NEW}
    answer = await api.post("/api/v1/session/password", json=ask, headers=people.headers("owner"))
    assert answer.status_code == 401
    async with yard.database.read() as session:
        known = await users.known(session, "max")
    assert known is not None
    assert await passwords.matches(known.user.password, admins)


@pytest.mark.parametrize("body", [None, {"fix": True}])
async def test_data_that_go_while_a_retry_looks_at_them_are_missed(
    api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    job_id = await api.job()
    await engine.move(job_id, Cause.PLACED, Cause.STARTED, Cause.FAILED)
    after(monkeypatch, job_routes, "_require_unchanged", lambda: api.delete(f"/api/v1/datasets/{api._dataset}"))
    answer = await api.post(f"/api/v1/jobs/{job_id}/retry", json=body)
    assert (answer.status_code, answer.json()["problems"][0]["field"]) == (422, "data.train"), answer.text
    assert (await api.get(f"/api/v1/jobs/{job_id}")).json()["state"] == "failed"


@pytest.mark.parametrize(("verb", "moves"), [("retry", [Cause.FAILED]), ("resume", [Cause.PAUSE_ASKED, Cause.STOPPED])])
async def test_a_job_that_comes_to_rest_while_it_is_taken_up_is_looked_at_first(
    api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch, verb: str, moves: list[Cause]
) -> None:
    job_id = await api.job()
    await engine.move(job_id, Cause.PLACED, Cause.STARTED)
    with monkeypatch.context() as patch:
        after(patch, job_routes, "_require_unchanged", lambda: engine.move(job_id, *moves))
        answer = await api.post(f"/api/v1/jobs/{job_id}/{verb}")
    assert (answer.status_code, answer.json()["hint"]) == (409, "ask again")
    assert (await api.post(f"/api/v1/jobs/{job_id}/{verb}")).json()["state"] == "queued"


async def test_a_checkpoint_that_is_replaced_while_a_job_is_submitted_is_missed(
    api: Api, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = await api.job()

    async def reach(step: int) -> None:
        folder = yard.context.rundir(parent).checkpoint(step)
        folder.mkdir(parents=True)
        told = {"attempt": 1, "size_bytes": 1, "metrics": {}, "best": False, "files": {}, "created_at": time.time()}
        async with yard.database.write() as session:
            await checkpoints.record(session, parent, step, {"path": f"checkpoints/{folder.name}", **told})

    async def replace() -> None:
        await reach(20)
        async with yard.database.write() as session:
            await checkpoints.mark_removed(session, parent, 10, time.time())
        yard.context.rundir(parent).checkpoint(10).rmdir()

    await reach(10)
    with monkeypatch.context() as patch:
        after(patch, datasets, "require_usable", replace)
        answer = await api.submit(continue_from=parent)
    assert answer.status_code == 422
    [problem] = answer.json()["problems"]
    assert (problem["field"], "removed a moment ago" in problem["message"]) == ("continue_from", True)
    assert (await api.submit(continue_from=parent)).status_code == 201


async def test_a_schedule_is_not_made_of_data_that_go_meanwhile(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"kind": "sft", "model": "owner/model", "data": f"dataset:{await api.dataset()}"}
    after(monkeypatch, datasets, "require_usable", lambda: api.delete(f"/api/v1/datasets/{api._dataset}"))
    answer = await api.post("/api/v1/schedules", json={"name": "nightly", "spec": spec, "cron": "0 3 * * *"})
    assert (answer.status_code, answer.json()["problems"][0]["field"]) == (422, "data.train")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_an_upload_that_nobody_waits_for_any_more_is_whole(
    api: Api, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server stops: what is written stays written, and its file with it."""
    reached = asyncio.Event()

    async def checkpoint(_: str) -> None:
        reached.set()
        await asyncio.sleep(3600)

    serving: set[asyncio.Task[Any]] = set()
    keep = datasets.keep

    async def kept(*arguments: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        return await keep(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(databases, "CHECKPOINT_WRITES", 1)
        patch.setattr(sqlite, "checkpoint", checkpoint)
        patch.setattr(datasets, "keep", kept)
        asking = asyncio.create_task(api.upload("orders.jsonl"))
        await reached.wait()
        [task] = serving
        task.cancel()
        await asyncio.gather(task, asking, return_exceptions=True)
    [found] = (await api.get("/api/v1/datasets")).json()["items"]
    assert (yard.context.datasets / found["id"] / "orders.jsonl").exists()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_the_small_curve_of_a_job_that_has_ended_is_whole(api: Api, yard: Yard, engine: Engine) -> None:
    """However soon it ended after somebody had looked at it."""
    job_id = await api.job()
    await engine.move(job_id, Cause.PLACED, Cause.STARTED)
    began = time.time() // 10 * 10

    async def seen(at: float) -> int:
        async with yard.database.write() as session:
            job = await job_rows.get(session, job_id)
            assert job is not None
            job.updated_at = at
            return len((await sparks.of_jobs(session, [job])).get(job_id, ()))

    assert await seen(began + 1) == 0
    async with yard.database.write() as session:
        job = await job_rows.get(session, job_id)
        assert job is not None
        values = {("train", step): {"attempt": 1, "at": began, "values": {"loss": 1 / step}} for step in range(1, 9)}
        count = await rollups.begin(session, job)
        await rollups.take(session, count, [], await points.record(session, job_id, values))
    await engine.move(job_id, Cause.COMPLETED)
    assert await seen(began + 8) == 8


def after(patch: pytest.MonkeyPatch, place: Any, name: str, also: Any) -> None:
    """Something more happens when this has been done."""
    real = getattr(place, name)

    async def then(*arguments: Any) -> Any:
        found = await real(*arguments)
        await also()
        return found

    patch.setattr(place, name, then)
