"""What Prometheus reads, and the dashboard that is drawn from it."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.server.people import settle
from websockets.asyncio.client import connect

from runyard.db.queries import jobs
from runyard.domain.lifecycle import Cause
from runyard.schemas.system import GpuRead
from runyard.server import app
from runyard.server.deps import Yard
from runyard.testing.yard import eventually

GPU = GpuRead(
    index=1, uuid="GPU-1", name="H100", memory_total_mb=80_000, memory_used_mb=20_000, utilization_percent=87,
    temperature_celsius=61, power_watts=412.5,
)  # fmt: skip
COLD = GPU.model_copy(update={"index": 0, "utilization_percent": None, "power_watts": None, "unusable": "put aside"})


class Figures:
    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def of(self, name: str, **labels: str) -> float | None:
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert len(found) <= 1, found
        return found[0] if found else None


async def scrape(api: Any, yard: Yard, **options: Any) -> Figures:
    yard.scrape._fresh_until = 0
    answer = await api.get("/metrics", **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Figures(answer.text)


async def test_jobs_waits_and_ends_are_counted(api: Any, yard: Yard) -> None:
    before = await scrape(api, yard)
    assert before.of("runyard_jobs", state="queued") == 0
    assert before.of("runyard_queue_oldest_seconds") == 0
    long_since = time.time() - 3600
    waiting, failing = await api.job(name="waits"), await api.job(name="fails", priority="high")
    async with yard.database.write() as session:
        row = await jobs.get(session, waiting)
        assert row is not None
        row.queued_at = long_since
        job = await jobs.get(session, failing)
        assert job is not None
        begun = job.created_at
        await jobs.apply_move(session, job, Cause.PLACED, "scheduler", begun + 40)
        await jobs.apply_move(session, job, Cause.STARTED, "supervisor", begun + 41)
        await jobs.apply_move(session, job, Cause.RETRIED, "supervisor", begun + 50, reason="killed")
        await jobs.apply_move(session, job, Cause.PLACED, "scheduler", begun + 52)
        await jobs.apply_move(session, job, Cause.STARTED, "supervisor", begun + 53)
        await jobs.apply_move(session, job, Cause.FAILED, "supervisor", begun + 60, reason="gpu_out_of_memory")
    after = await scrape(api, yard)
    assert after.of("runyard_jobs", state="queued") == 1
    assert after.of("runyard_jobs", state="failed") == 1
    assert after.of("runyard_queue_length") == 1
    assert after.of("runyard_queue_oldest_seconds") == pytest.approx(3600, abs=30)
    assert after.of("runyard_wait_seconds_count", priority="high") == 2
    assert after.of("runyard_wait_seconds_sum", priority="high") == pytest.approx(42, abs=0.1)
    assert after.of("runyard_attempts_ended_total", reason="killed") == 1
    assert after.of("runyard_attempts_ended_total", reason="gpu_out_of_memory") == 1
    again = await scrape(api, yard)
    assert again.of("runyard_wait_seconds_count", priority="high") == 2, "each is counted once"
    assert again.of("runyard_engine_alive") == 0, "none runs here"
    assert again.of("runyard_database_up") == 1
    assert again.of("runyard_deliveries_pending") == 0
    assert (again.of("runyard_disk_free_bytes") or 0) > 0


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_gpus_have_their_figures_and_none_that_is_not_known(api: Any, yard: Yard) -> None:
    yard.scrape.gpus = lambda: [COLD, GPU]
    found = await scrape(api, yard)
    assert found.of("runyard_gpu_utilization_ratio", gpu="1") == 0.87
    assert found.of("runyard_gpu_memory_used_bytes", gpu="1") == 20_000 * (1 << 20)
    assert found.of("runyard_gpu_temperature_celsius", gpu="1") == 61
    assert found.of("runyard_gpu_power_watts", gpu="1") == 412.5
    assert (found.of("runyard_gpu_usable", gpu="0"), found.of("runyard_gpu_usable", gpu="1")) == (0, 1)
    assert found.of("runyard_gpu_utilization_ratio", gpu="0") is None
    yard.scrape.gpus = lambda: [GPU]
    assert (await scrape(api, yard)).of("runyard_gpu_usable", gpu="0") is None, "it is not there any more"


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_requests_are_timed_by_template_and_names_show_nowhere(api: Any, yard: Yard) -> None:
    job = await api.job(name="a very secret name")
    for address in (f"/api/v1/jobs/{job}", "/api/v1/jobs/nothing1", "/api/v1/jobs/nothing2", "/made/up", "/made/up2"):
        await api.get(address)
    await api.request("MADEUP", "/api/v1/jobs")
    found = await scrape(api, yard)
    one = {"method": "GET", "route": "/api/v1/jobs/{job_id}"}
    assert found.of("runyard_request_seconds_count", status="2xx", **one) == 1
    assert found.of("runyard_request_seconds_count", status="4xx", **one) == 2
    assert found.of("runyard_request_seconds_count", method="GET", route="none", status="4xx") == 2
    routes = {sample.labels["route"] for sample in found.samples if "route" in sample.labels}
    assert not any(part in route for route in routes for part in (job, "nothing", "made"))
    methods = {sample.labels["method"] for sample in found.samples if "method" in sample.labels}
    assert methods <= {"GET", "POST", "other"}
    assert not any("secret" in value or "local" in value for s in found.samples for value in s.labels.values())


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_open_feeds_are_counted_until_they_close(api: Any, url: str, yard: Yard) -> None:
    async with connect(url.replace("http", "ws") + "/api/v1/ws"), api.stream("GET", "/api/v1/stream"):
        found = await scrape(api, yard)
        assert found.of("runyard_open_feeds", kind="websocket") == 1
        assert found.of("runyard_open_feeds", kind="sse") == 1

    async def are_closed() -> bool:
        found = await scrape(api, yard)
        return not found.of("runyard_open_feeds", kind="websocket") and not found.of("runyard_open_feeds", kind="sse")

    await eventually(are_closed)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_looks_at_the_yard_that_follow_each_other_share_one(api: Any, yard: Yard) -> None:
    looks = 0

    def gpus() -> list[GpuRead]:
        nonlocal looks
        looks += 1
        return []

    yard.scrape.gpus = gpus
    answers = await asyncio.gather(*(api.get("/metrics") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert looks == 1


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_the_rest_is_told_while_the_database_is_away(api: Any, yard: Yard, monkeypatch: Any) -> None:
    await scrape(api, yard)

    def broken(**_: object) -> Any:
        raise OSError("away")

    monkeypatch.setattr(yard.scrape, "database", type("Away", (), {"read": staticmethod(broken)})())
    found = await scrape(api, yard)
    assert found.of("runyard_database_up") == 0
    assert (found.of("runyard_disk_free_bytes") or 0) > 0


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_it_is_for_operators_and_a_key_that_can_only_read_is_enough(api: Any, yard: Yard) -> None:
    people = await settle(yard)
    assert (await api.get("/metrics")).status_code == 401
    for who in ("admin", "member", "foreign admin"):
        assert (await api.get("/metrics", headers=people.headers(who))).status_code == 403, who
    await scrape(api, yard, headers=people.headers("reading key"))


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_two_servers_in_one_process_count_for_themselves(api: Any, yard: Yard) -> None:
    other = Yard(yard.database, yard.hub, yard.context, yard.gate, yard.wake, yard.clock, gpus=list, slots=1)
    app.build(other)
    await api.get("/health")
    assert b'route="/health"' in await yard.scrape.text()
    assert b'route="/health"' not in await other.scrape.text()


def dashboard() -> dict[str, Any]:
    file = Path(__file__).parents[3] / "docs" / "grafana" / "runyard.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_the_dashboard_draws_only_what_is_measured(api: Any, yard: Yard) -> None:
    yard.scrape.gpus = lambda: [GPU]
    await api.get("/health")
    job = await api.job()
    async with yard.database.write() as session:
        row = await jobs.get(session, job)
        assert row is not None
        for cause in (Cause.PLACED, Cause.STARTED, Cause.COMPLETED):
            await jobs.apply_move(session, row, cause, "engine", time.time())
    await scrape(api, yard)
    measured = (await scrape(api, yard)).names
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    assert len(expressions) >= 15
    for expression in expressions:
        named = set(re.findall(r"\b(?:runyard|process)_\w+", expression))
        assert named, expression
        assert named <= measured, expression


def test_the_dashboard_can_be_loaded() -> None:
    found = dashboard()
    assert found["uid"] == "runyard"
    assert isinstance(found["schemaVersion"], int)
    variables = {variable["name"]: variable["type"] for variable in found["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        used = set(re.findall(r"\$(\w+)", json.dumps(panel))) | set(re.findall(r"\$\{(\w+)", json.dumps(panel)))
        assert used <= set(variables), panel["title"]
