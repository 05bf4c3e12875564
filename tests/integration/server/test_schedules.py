"""Schedules through the API."""

from typing import Any

import pytest

from runyard.server.deps import Yard

NIGHTLY = {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "name": "nightly"}


async def add(api: Any, spec: dict[str, Any] | None = None, **ask: Any) -> Any:
    job = {"kind": "sft", "model": "owner/model", "data": f"dataset:{await api.dataset()}", **(spec or {})}
    return await api.post("/api/v1/schedules", json={"spec": job, **ask})


async def test_a_schedule_is_added_shown_and_deleted(api: Any) -> None:
    answer = await add(api, {"training": {"epochs": 2}}, **NIGHTLY)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["cron"] == "0 2 * * *"
    assert made["next_at"] > made["created_at"]
    assert made["spec"]["training"] == {"epochs": 2}
    assert (await api.get(answer.headers["location"])).json() == made
    assert (await api.get("/api/v1/schedules/nightly")).json() == made
    assert (await api.get("/api/v1/schedules")).json()["items"] == [made]
    assert (await api.delete("/api/v1/schedules/nightly")).status_code == 204
    assert (await api.get("/api/v1/schedules")).json()["items"] == []
    missing = await api.get("/api/v1/schedules/nightly")
    assert missing.status_code == 404
    assert "runyard schedules list" in missing.json()["hint"]


async def test_asking_twice_gives_one_schedule_and_a_name_is_not_taken_away(api: Any) -> None:
    first, again = await add(api, **NIGHTLY), await add(api, **NIGHTLY)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = await add(api, **NIGHTLY | {"cron": "0 3 * * *"})
    assert other.status_code == 409
    assert "nightly" in other.json()["detail"]
    assert other.json()["code"] == "in_use"


async def test_the_name_is_the_jobs_unless_given(api: Any) -> None:
    named = await add(api, {"name": "orders"}, cron="0 2 * * *")
    assert named.json()["name"] == "orders"
    assert (await add(api, cron="0 2 * * *")).json()["name"] == "orders sft"


async def test_a_paused_one_waits_until_it_is_resumed(api: Any) -> None:
    made = (await add(api, **NIGHTLY)).json()
    paused = (await api.post("/api/v1/schedules/nightly/pause")).json()
    assert (paused["paused"], paused["next_at"]) == (True, None)
    assert (await api.post("/api/v1/schedules/nightly/pause")).json() == paused
    assert (await api.post("/api/v1/schedules/nightly/resume")).json() == made
    assert (await api.post("/api/v1/schedules/nightly/resume")).json() == made


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({}, "cron"),
        ({"cron": "0 2 * *"}, "cron"),
        ({"cron": "0 2 * * *", "timezone": "Nowhere/Else"}, "timezone"),
        ({"at": "2020-01-01"}, "at"),
        ({"at": 5}, "at"),
        ({"cron": "0 2 * * *", "name": "a\nb"}, "name"),
        ({"cron": "0 2 * * *", "name": ""}, "name"),
        ({"crom": "0 2 * * *"}, "crom"),
        ({"cron": "0 2 * * *", "spec": {"data": "dataset:none"}}, "data.train"),
        ({"cron": "0 2 * * *", "spec": {"training": {"epochs": -1}}}, "spec.training.epochs"),
        ({"cron": "0 2 * * *", "spec": {"kind": "none"}}, None),
    ],
)
async def test_what_is_wrong_is_told_with_its_field(api: Any, ask: dict[str, Any], field: str | None) -> None:
    answer = await add(api, **ask)
    assert answer.status_code == 422, answer.text
    if field:
        assert [problem["field"] for problem in answer.json()["problems"]] == [field]


async def test_a_data_set_that_a_schedule_names_is_not_deleted(api: Any, yard: Yard) -> None:
    await add(api, **NIGHTLY)
    refused = await api.delete(f"/api/v1/datasets/{await api.dataset()}")
    assert refused.status_code == 409
    assert "nightly" in refused.json()["detail"]
    await api.delete("/api/v1/schedules/nightly")
    assert (await api.delete(f"/api/v1/datasets/{await api.dataset()}")).status_code == 204
