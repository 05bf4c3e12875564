"""Retention through the API: a look at what would go, a word to do it, and jobs that are kept."""

from typing import Any

import pytest

from runyard.db.tables import Job
from runyard.domain.retention import DAY
from runyard.engine.janitor import Janitor
from runyard.server.deps import Yard
from runyard.testing.yard import make_context


@pytest.fixture
async def old(api: Any, engine: Any, yard: Yard) -> str:
    """Id of a job that was completed 100 days ago and left 1000 bytes."""
    job_id = str(await api.job(name="old one"))
    await engine.complete(job_id)
    async with yard.database.write() as session:
        (await session.get_one(Job, job_id)).finished_at = yard.clock() - 100 * DAY
    root = yard.context.rundir(job_id).root
    root.mkdir(parents=True)
    (root / "spec.json").write_bytes(bytes(1000))
    return job_id


async def test_a_look_lists_what_would_go_and_removes_nothing(api: Any, yard: Yard, old: str) -> None:
    found = (await api.get("/api/v1/retention")).json()
    expected = {"what": "job", "name": "old one", "job_id": old, "step": None, "size_bytes": 1000}
    assert found["items"] == [expected | {"why": "completed more than 90 days ago"}]
    assert (found["size_bytes"], found["spared"], found["last"]["ended_at"]) == (1000, [], None)
    assert yard.context.rundir(old).spec.exists()
    assert (await api.get(f"/api/v1/jobs/{old}")).status_code == 200


async def test_a_kept_job_is_spared_until_it_is_let_go(api: Any, old: str) -> None:
    kept = await api.post(f"/api/v1/jobs/{old}/keep", json={"keep": True})
    assert kept.json()["kept"] is True
    found = (await api.get("/api/v1/retention")).json()
    assert (found["items"], [item["why"] for item in found["spared"]]) == ([], ["it is to be kept"])
    freed = await api.post(f"/api/v1/jobs/{old}/keep", json={"keep": False})
    assert freed.json()["kept"] is False
    assert len((await api.get("/api/v1/retention")).json()["items"]) == 1
    assert (await api.post("/api/v1/jobs/none/keep", json={})).status_code == 404


async def test_what_is_asked_for_is_done_by_the_engine_and_told(api: Any, yard: Yard, old: str) -> None:
    asked = await api.post("/api/v1/retention")
    assert asked.status_code == 202
    assert asked.json()["asked_at"] is not None
    assert (await api.get("/api/v1/retention/last")).json() == asked.json()
    await Janitor(make_context(yard.database, yard.context.runs, limits=yard.context)).tick()
    done = (await api.get("/api/v1/retention/last")).json()
    assert (done["asked_at"], done["removed"], done["freed_bytes"], done["failed"]) == (None, 1, 1000, None)
    assert (await api.get(f"/api/v1/jobs/{old}")).status_code == 404
    assert (await api.get("/api/v1/jobs")).json()["items"] == []
    assert (await api.post(f"/api/v1/jobs/{old}/keep", json={})).status_code == 404
    assert (await api.get("/api/v1/retention")).json()["items"] == []
    told = (await api.get("/api/v1/events")).json()["items"]
    assert [entry["job_id"] for entry in told if entry["type"] == "job_removed"] == [old]
