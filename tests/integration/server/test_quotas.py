"""Quotas of tenants and users: what can be read of them, and the refusals that name them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.server.people import People, settle

from runyard.db.tables import Attempt, Checkpoint
from runyard.server.deps import Yard
from runyard.services.quotas import used, used_by_each

JOB = {"kind": "sft", "model": "owner/model", "data": "owner/rows"}


@pytest.fixture
async def people(api: Any, yard: Yard) -> People:
    return await settle(yard)


async def limit(api: Any, people: People, of: str, who: str = "admin", **amounts: float | None) -> None:
    answer = await api.put("/api/v1/quotas", json={"of": of, "amounts": amounts}, headers=people.headers(who))
    assert answer.status_code == 200, answer.text


async def submit(api: Any, people: People, who: str = "owner", **fields: Any) -> Any:
    return await api.post("/api/v1/jobs", json={**JOB, **fields}, headers=people.headers(who))


async def quotas(api: Any, people: People, who: str = "owner") -> dict[tuple[str, str], Any]:
    answer = await api.get("/api/v1/quotas", headers=people.headers(who))
    return {(item["of"], item["quota"]): item for item in answer.json()["items"]}


async def test_a_user_may_have_what_was_set_for_the_user_or_for_each(api: Any, people: People) -> None:
    for _ in range(5):
        assert (await submit(api, people)).status_code == 201
    refused = await submit(api, people)
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert refused.json()["detail"] == "max has 5 waiting jobs, and may have 5 (quota waiting)"
    assert (await submit(api, people, "member")).status_code == 201, "others are not held up by max"
    await limit(api, people, "each user", waiting=6)
    assert (await submit(api, people)).status_code == 201
    assert (await submit(api, people)).status_code == 429
    await limit(api, people, "user max", waiting=7)
    assert (await submit(api, people)).status_code == 201
    assert (await submit(api, people)).status_code == 429
    found = await quotas(api, people)
    assert found["user max", "waiting"] == {"of": "user max", "quota": "waiting", "used": 7, "limit": 7, "left": 0}
    assert found["tenant", "waiting"]["used"] == 8
    await limit(api, people, "user max", waiting=None)
    assert (await quotas(api, people))["user max", "waiting"]["limit"] == 6
    entries = (await api.get("/api/v1/audit?refused=true", headers=people.headers("admin"))).json()["items"]
    assert [(entry["user"], entry["refused"]) for entry in entries] == [("max", "queue_full")] * 3


async def test_a_tenant_has_a_limit_of_its_own_which_operators_set(api: Any, people: People) -> None:
    ask = {"of": "tenant", "amounts": {"waiting": 3}}
    assert (await api.put("/api/v1/quotas", json=ask, headers=people.headers("admin"))).status_code == 403
    await limit(api, people, "tenant", "operator", waiting=3)
    for who in ("owner", "member", "owner"):
        assert (await submit(api, people, who)).status_code == 201
    refused = await submit(api, people, "member")
    assert refused.json()["detail"] == "the tenant main has 3 waiting jobs, and may have 3 (quota waiting)"
    assert (await submit(api, people, "foreign admin")).status_code == 201, "another tenant"


async def test_stored_bytes_count_for_uploads_and_for_jobs(api: Any, people: People) -> None:
    headers = people.headers("owner")
    rows = b'{"text": "' + b"x" * 5000 + b'"}\n'
    await limit(api, people, "each user", stored_bytes=9000)
    first = await api.post("/api/v1/datasets", files={"file": ("a.jsonl", rows)}, headers=headers)
    assert first.status_code == 201, first.text
    assert (await quotas(api, people))["user max", "stored_bytes"]["used"] == len(rows)
    second = await api.post("/api/v1/datasets", files={"file": ("b.jsonl", rows + rows)}, headers=headers)
    assert (second.status_code, second.json()["code"]) == (429, "over_quota")
    assert "quota stored_bytes" in second.json()["detail"]
    assert (await submit(api, people)).status_code == 201
    await limit(api, people, "each user", stored_bytes=5000)
    refused = await submit(api, people)
    assert (refused.status_code, refused.json()["code"]) == (429, "over_quota")
    assert (await submit(api, people, "member")).status_code == 201


async def test_gpu_hours_of_the_month_are_counted_by_what_attempts_held(api: Any, yard: Yard, people: People) -> None:
    made = (await submit(api, people)).json()["id"]
    now = datetime.now(UTC).replace(day=15).timestamp()  # an hour ago it was the same month
    object.__setattr__(yard, "clock", lambda: now)
    held: dict[str, Any] = {"job_id": made, "executor": "local", "gpus": [0, 1], "machine": "local"}
    async with yard.database.write() as session:
        session.add(Attempt(id="a", number=1, created_at=now - 5400, released_at=now - 1800, **held))
        session.add(Attempt(id="b", number=2, created_at=now - 90 * 86400, released_at=now - 89 * 86400, **held))
    found = (await quotas(api, people))["user max", "gpu_hours"]
    assert found["used"] == pytest.approx(2.0, abs=0.01), "two GPUs for an hour; what was long ago does not count"
    await limit(api, people, "each user", gpu_hours=2.0)
    refused = await submit(api, people)
    assert (refused.status_code, refused.json()["code"]) == (429, "over_quota")
    assert refused.json()["detail"] == "max has 2 GPU-hours this month, and may have 2 (quota gpu_hours)"
    assert (await submit(api, people, resources={"gpus": 0})).status_code == 201, "it needs none"


async def test_what_everybody_uses_is_asked_for_together_and_is_the_same(api: Any, yard: Yard, people: People) -> None:
    await limit(api, people, "user mia", running=3)
    for who, size in (("owner", 4000), ("member", 500)):
        rows = b'{"text": "' + b"x" * size + b'"}\n'
        done = await api.post("/api/v1/datasets", files={"file": ("a.jsonl", rows)}, headers=people.headers(who))
        assert done.status_code == 201, done.text
        job = (await submit(api, people, who)).json()["id"]
        await submit(api, people, who)
        held: dict[str, Any] = {"job_id": job, "executor": "local", "gpus": [0, 1], "machine": "local"}
        async with yard.database.write() as session:
            session.add(Attempt(id=job, number=1, created_at=yard.clock() - 60, **held))
            kept: dict[str, Any] = {"attempt": 1, "metrics": {}, "best": False, "files": {}, "created_at": 1.0}
            session.add(Checkpoint(job_id=job, step=1, path="a", size_bytes=7, **kept))
            session.add(Checkpoint(job_id=job, step=2, path="b", size_bytes=9, removed_at=2.0, **kept))
    names, now = ["max", "mia", "ada"], yard.clock()
    async with yard.database.read() as session:
        together = await used_by_each(session, "main", names, yard.context, now)
        alone = {name: await used(session, "main", name, yard.context, now) for name in names}
    assert together == alone
    expected = {"waiting": 2, "running": 1, "gpus": 2, "stored_bytes": 500 + len(b'{"text": ""}\n') + 7, "money": 0}
    assert {one.quota: one.used for one in together["mia"] if one.quota != "gpu_hours"} == expected


async def test_a_member_sees_what_is_its_own_and_an_admin_what_is_others(api: Any, people: People) -> None:
    assert (await api.get("/api/v1/quotas?user=mia", headers=people.headers("owner"))).status_code == 403
    assert (await api.get("/api/v1/quotas?user=mia", headers=people.headers("admin"))).status_code == 200
    assert (await api.get("/api/v1/quotas?user=otto", headers=people.headers("admin"))).status_code == 404
    for of in ("user otto", "user nobody", "everybody", "max"):
        ask = {"of": of, "amounts": {"gpus": 1}}
        assert (await api.put("/api/v1/quotas", json=ask, headers=people.headers("admin"))).status_code == 404
    limits = await api.get("/api/v1/quotas/limits", headers=people.headers("foreign admin"))
    assert limits.json()["items"] == []


@pytest.mark.parametrize("amount", ["-1", "NaN", "1e400", '"lots"', "[]"])
async def test_an_amount_that_is_none_is_refused(api: Any, people: People, amount: str) -> None:
    headers = {**people.headers("admin"), "Content-Type": "application/json"}
    body = '{"of": "each user", "amounts": {"gpus": ' + amount + "}}"
    assert (await api.put("/api/v1/quotas", content=body, headers=headers)).status_code in (400, 422)
