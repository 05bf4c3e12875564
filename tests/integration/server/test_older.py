"""The older paths, as the clients that know only them ask and read."""

import io
import zipfile
from typing import Any

import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from tests.integration.server.people import leave_behind, settle
from tests.integration.server.test_analytics import SHAPE
from websockets.asyncio.client import connect

from runyard.db.queries import audit
from runyard.domain.lifecycle import Cause
from runyard.server import app, older
from runyard.server.deps import Yard

JOB = {
    "job_id", "status", "job_name", "model_type", "tenant_id", "user_id", "priority", "progress", "phase",
    "current_step", "total_steps", "current_loss", "eta_seconds", "queue_position", "message", "error", "attempts",
    "created_at", "started_at", "completed_at", "updated_at",
}  # fmt: skip
ARTIFACT = {"artifact_id", "job_id", "path", "size_bytes", "hash_sha256", "created_at", "metadata"}
PROMISED = {
    ("POST", "/api/training/execute"),
    ("GET", "/api/training/status/{job_id}"),
    ("POST", "/api/training/cancel/{job_id}"),
    ("POST", "/api/training/pause/{job_id}"),
    ("POST", "/api/training/resume/{job_id}"),
    ("WS", "/ws/training/{job_id}"),
    ("GET", "/api/training/{job_id}/download/model"),
    ("GET", "/api/training/{job_id}/download/logs"),
    ("GET", "/api/training/{job_id}/model"),
    ("GET", "/api/training/{job_id}/logs"),
    ("GET", "/api/training/{job_id}/analytics"),
    ("GET", "/api/training/analytics/summary"),
    ("GET", "/api/training/analytics/compare"),
    ("GET", "/api/training/jobs"),
    ("POST", "/api/training/jobs/{job_id}/submit"),
    ("GET", "/api/training/jobs/{job_id}/status"),
    ("POST", "/api/training/jobs/{job_id}/cancel"),
    ("POST", "/api/training/jobs/{job_id}/download-artifact"),
    ("GET", "/api/jobs"),
    ("GET", "/health"),
    ("GET", "/api/system/status"),
    ("POST", "/ai/training/jobs/start"),
    ("GET", "/ai/training/jobs"),
    ("GET", "/ai/training/jobs/{job_id}"),
    ("DELETE", "/ai/training/jobs/{job_id}"),
    ("POST", "/ai/training/jobs/{job_id}/retry"),
    ("GET", "/ai/training/jobs/{job_id}/logs"),
    ("GET", "/ai/training/stats"),
}


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_table_has_every_path_that_was_promised() -> None:
    rows = {(row.method, row.path) for row in older.TABLE} | {("WS", path) for path in older.SOCKETS}
    assert rows | {("GET", "/health")} == PROMISED
    assert len(older.TABLE) == len({row.name for row in older.TABLE})
    known = {route.path for route in older.router.routes if isinstance(route, APIRoute | APIWebSocketRoute)}
    assert known == {path for _, path in PROMISED} - {"/health"}


def test_their_description_says_what_to_ask_instead() -> None:
    paths = app.ROUTES.openapi()["paths"]
    for row in older.TABLE:
        operation = paths[row.path][row.method.lower()]
        assert operation["deprecated"] is True
        method, successor = operation["summary"].removeprefix("Now ").split()
        assert paths[successor][method.lower()]["operationId"] == row.successor
        assert f"`{method} {successor}`" in operation["description"]
    assert not any(one.get("deprecated") for path, ways in paths.items() if "/v1/" in path for one in ways.values())


async def started(api: Any, path: str = "/api/training/execute", **body: Any) -> dict[str, Any]:
    body.setdefault("config", {"model": "owner/model", "data": f"dataset:{await api.dataset()}"})
    answer = await api.post(path, json={"model_type": "sft", **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == JOB
    return found


async def test_a_job_from_its_start_to_its_end(api: Any, engine: Any) -> None:
    job = await started(api, job_name="by an older client", priority="high", tenant_id="main")
    id_ = job["job_id"]
    assert (job["status"], job["model_type"], job["job_name"]) == ("queued", "sft", "by an older client")
    assert (job["priority"], job["tenant_id"], job["user_id"], job["queue_position"]) == ("high", "main", "local", 1)
    for path in ("/api/training/status/", "/ai/training/jobs/"):
        assert (await api.get(path + id_)).json() == (await api.get(f"/api/training/jobs/{id_}/status")).json()
    await engine.move(id_, Cause.PLACED, Cause.STARTED)
    assert (await api.post(f"/api/training/pause/{id_}")).json()["status"] == "pausing"
    await engine.move(id_, Cause.STOPPED)
    assert (await api.post(f"/api/training/resume/{id_}")).json()["status"] == "queued"
    assert (await api.post(f"/api/training/cancel/{id_}")).json()["status"] == "cancelled"
    assert (await api.post(f"/ai/training/jobs/{id_}/retry")).json()["status"] == "queued"
    assert (await api.delete(f"/ai/training/jobs/{id_}")).json()["status"] == "cancelled"
    again = await api.post(f"/api/training/jobs/{id_}/submit")
    assert (again.status_code, again.json()["status"], set(again.json())) == (200, "queued", JOB)
    assert (await api.post(f"/api/training/jobs/{id_}/submit")).json()["status"] == "queued", "it waits already"
    assert (await api.post(f"/api/training/jobs/{id_}/cancel")).json()["status"] == "cancelled"
    assert (await api.get(f"/api/v1/jobs/{id_}")).json()["state"] == "cancelled", "it is one and the same"


@pytest.mark.parametrize("path", ["/api/training/execute", "/ai/training/jobs/start"])
async def test_a_job_may_be_written_in_several_ways_and_is_checked_as_any_other(api: Any, path: str) -> None:
    data = f"dataset:{await api.dataset()}"
    plain = {"kind": "sft", "model": "owner/model", "data": data, "name": "as in a job file"}
    answer = await api.post(path, json=plain, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 200, answer.text
    again = await api.post(path, json=plain, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["job_id"]) == (200, answer.json()["job_id"])
    newer = await api.post("/api/v1/jobs", json=plain, headers={"Idempotency-Key": "k"})
    assert newer.json()["id"] == answer.json()["job_id"], "and by its successor the same job"
    mixed = {
        "model_type": "sft",
        "job_name": "mixed",
        "config": {"model": "owner/model"},
        "data": data,
        "priority": None,
    }
    assert (await api.post(path, json=mixed)).json()["job_name"] == "mixed"
    for body, field in (
        ({"model_type": "sft", "config": {"model": "owner/model", "data": data, "epochs": 3}}, "epochs"),
        ({"model_type": "nothing"}, "kind"),
        ({}, "kind"),
        ({"model_type": "sft", "config": {"model": "/etc", "data": data}}, "model.name"),
    ):
        refused = await api.post(path, json=body)
        assert refused.status_code == 422, refused.text
        assert field in {problem["field"] for problem in refused.json()["problems"]}
    foreign = await api.post(path, json=plain | {"tenant_id": "theirs"})
    assert foreign.status_code == 404


@pytest.mark.parametrize("path", ["/api/training/jobs", "/api/jobs", "/ai/training/jobs"])
async def test_lists_are_narrowed_and_numbered(api: Any, engine: Any, path: str) -> None:
    ids = [(await started(api, job_name=f"n{n}", priority="low" if n % 2 else "high"))["job_id"] for n in range(5)]
    await engine.complete(ids[0])

    async def listed(**query: Any) -> tuple[int, list[str]]:
        answer = await api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert set(page) == {"jobs", "total", "page", "page_size", "total_pages"}
        assert all(set(job) == JOB for job in page["jobs"])
        return page["total"], [job["job_id"] for job in page["jobs"]]

    assert await listed() == (5, ids[::-1])
    assert await listed(page_size=2) == (5, [ids[4], ids[3]])
    assert await listed(page_size=2, page=3) == (5, [ids[0]])
    assert await listed(page_size=2, page=4) == (5, [])
    assert await listed(page_size=5, page=2) == (5, [])
    assert await listed(priority="low") == (2, [ids[3], ids[1]])
    assert await listed(status="completed") == (1, [ids[0]])
    assert await listed(status=["completed", "queued"], model_type="sft", tenant_id="main", page_size=1) == (
        5,
        [ids[4]],
    )
    assert await listed(model_type="forecast") == (0, [])
    assert await listed(tenant_id="theirs") == (0, [])
    pages = (await api.get(path, params={"page_size": 2, "page": 2})).json()
    assert (pages["page"], pages["page_size"], pages["total_pages"]) == (2, 2, 3)
    for query in ({"page": 0}, {"page_size": 0}, {"page_size": 501}, {"status": "odd"}, {"priority": "odd"}):
        assert (await api.get(path, params=query)).status_code == 422


async def test_what_a_job_left_comes_as_zip_and_one_by_one(api: Any, yard: Yard, engine: Any) -> None:
    id_ = await api.job()
    artifact = await leave_behind(yard, id_)
    written = yard.context.rundir(id_).root / "attempts" / "1"
    written.mkdir(parents=True)
    (written / "stdout.log").write_text("first\nlast\n")
    await engine.complete(id_)
    for path in ("model", "download/model", "logs", "download/logs"):
        answer = await api.get(f"/api/training/{id_}/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), path
        zipfile.ZipFile(io.BytesIO(answer.content)).testzip()
    url = f"/api/training/jobs/{id_}/download-artifact"
    for body in (None, {}, {"artifact_id": artifact}, {"path": "final/model.bin"}):
        found = (await api.post(url, json=body)).json()
        assert set(found) >= ARTIFACT
        assert (found["artifact_id"], found["job_id"], found["hash_sha256"]) == (artifact, id_, "0" * 64)
    assert (await api.get(found["download_url"])).content == b"weights"
    missing = await api.post(url, json={"path": "no/such"})
    assert missing.status_code == 404
    lines = await api.get(f"/ai/training/jobs/{id_}/logs", params={"tail": 1})
    assert lines.json() == {"job_id": id_, "logs": ["last"]}


SUMMARY = {
    "total_jobs", "jobs_by_status", "average_training_duration_seconds", "total_training_time_hours",
    "average_throughput_samples_per_sec", "top_performing_jobs", "resource_trends",
}  # fmt: skip
COMPARED = {"job_id", "duration_seconds", "throughput", "final_loss", "gpu_utilization"}


async def test_analytics_have_the_shapes_that_were_promised(api: Any, engine: Any) -> None:
    ids = [await api.job(name=name) for name in ("one", "two")]
    await engine.complete(ids[0])
    found = (await api.get(f"/api/training/{ids[0]}/analytics")).json()
    assert set(found) == {"job_id", "status", "warnings", *SHAPE}
    assert (found["job_id"], found["status"]) == (ids[0], "completed")
    for part, names in SHAPE.items():
        assert set(found[part]) == names
    for path in ("/api/training/analytics/summary", "/ai/training/stats"):
        summary = (await api.get(path)).json()
        assert set(summary) == {"warnings", *SUMMARY}
        assert summary["total_jobs"] == 2
        assert {state: count for state, count in summary["jobs_by_status"].items() if count} == {
            "completed": 1, "queued": 1,
        }  # fmt: skip
        assert set(summary["resource_trends"]) == {"average_gpu_utilization", "average_peak_memory_mb"}
        assert all(set(job) == {"job_id", "throughput", "duration"} for job in summary["top_performing_jobs"])
    compared = (await api.get("/api/training/analytics/compare", params={"job_ids": ",".join(ids)})).json()
    assert [job["job_id"] for job in compared["jobs"]] == ids
    assert all(set(job) >= COMPARED for job in compared["jobs"])
    assert set(compared["winner"]) == {"best_throughput", "best_loss", "fastest", "most_efficient"}
    missing = await api.get("/api/training/analytics/compare", params={"job_ids": f"{ids[0]},nothing"})
    assert missing.status_code == 404
    assert (await api.get("/api/training/nothing/analytics")).status_code == 404


async def test_the_system_tells_how_it_stands(api: Any) -> None:
    await api.job()
    found = (await api.get("/api/system/status")).json()
    assert set(found) == {"status", "version", "gpus", "queue", "disk", "hosts", "warnings"}
    assert found["queue"] == {"queued": 1, "running": 0, "by_status": {"queued": 1}}
    assert found["status"] == "degraded"
    assert found["warnings"] == ["no engine runs, so jobs wait: start one with `runyard engine`"]
    assert found["disk"]["free_bytes"] > 0
    assert (await api.get("/health")).json()["status"] == "ok"


async def test_a_socket_tells_what_happens_to_a_job(api: Any, url: str, engine: Any) -> None:
    id_ = await api.job()
    async with connect(f"{url.replace('http', 'ws')}/ws/training/{id_}") as socket:
        assert f'"job_id":"{id_}"' in str(await socket.recv())
        await engine.complete(id_)
        told = ""
        while '"type":"end"' not in told:
            told = str(await socket.recv())


async def test_every_answer_names_the_successor_and_errors_do_too(api: Any, yard: Yard) -> None:
    id_ = await api.job()
    for answer, path in (
        (await api.get(f"/api/training/status/{id_}"), f"/api/v1/jobs/{id_}"),
        (await api.get("/api/training/status/no%20%C3%A4"), "/api/v1/jobs/no%20%C3%A4"),
        (await api.get("/api/jobs", params={"page": 0}), "/api/v1/jobs"),
        (await api.get(f"/api/training/{id_}/model"), f"/api/v1/jobs/{id_}/download/model"),
        (await api.post(f"/ai/training/jobs/{id_}/retry"), f"/api/v1/jobs/{id_}/retry"),
    ):
        assert answer.headers["Deprecation"] == "@1767225600"
        assert answer.headers["Link"] == f'<{path}>; rel="successor-version"'
    assert "Deprecation" not in (await api.get(f"/api/v1/jobs/{id_}")).headers
    await api.post(f"/api/training/cancel/{id_}")
    async with yard.database.read() as session:
        [last] = await audit.page(session, audit.Filter(), None, 1)
    assert (last.action, last.target) == ("cancel_job", id_), "in the audit log it is what its successor does"


async def test_another_tenants_job_is_none(api: Any, yard: Yard) -> None:
    id_ = await api.job()
    people = await settle(yard)
    api.cookies.clear()
    assert (await api.get(f"/api/training/status/{id_}")).status_code == 401
    theirs = people.headers("foreign admin")
    assert (await api.get(f"/api/training/status/{id_}", headers=theirs)).status_code == 404
    assert (await api.get("/api/jobs", params={"tenant_id": "main"}, headers=theirs)).json()["jobs"] == []
    assert (await api.get("/api/jobs", headers=theirs)).json()["total"] == 0
    viewer = people.headers("viewer")
    assert (await api.post(f"/api/training/cancel/{id_}", headers=viewer)).status_code == 403
    assert (await api.get("/api/jobs", headers=viewer)).json()["total"] == 1
