"""Submitting jobs and asking them to move, over HTTP."""

import asyncio
import random
from typing import Any

from runyard.db.queries import jobs
from runyard.domain.lifecycle import Cause
from runyard.server.deps import Yard


async def test_a_submitted_job_waits_with_its_spec_as_asked_and_as_resolved(api: Any, yard: Yard) -> None:
    dataset = await api.dataset()
    answer = await api.submit(data=f"dataset:{dataset}", priority="high")
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/jobs/{body['id']}"
    assert (body["state"], body["name"], body["priority"]) == ("queued", "orders sft", "high")
    assert body["spec"] == {
        "kind": "sft", "model": {"name": "owner/model"}, "data": {"train": f"dataset:{dataset}"}, "priority": "high",
    }  # fmt: skip
    assert [(move["before"], move["after"], move["cause"]) for move in body["moves"]] == [(None, "queued", "submitted")]
    async with yard.database.read() as session:
        row = await jobs.get(session, body["id"])
    assert row is not None
    assert row.resolved_spec["data"]["train"] == str(yard.context.datasets / dataset / "orders.jsonl")
    assert row.resolved_spec["training"]["max_length"] == 1024, "defaults of today are kept for a job resumed later"


async def test_the_same_key_and_job_are_one_job(api: Any) -> None:
    first = await api.submit(key="k")
    again = await api.submit(key="k")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]


async def test_the_same_key_with_another_job_is_refused(api: Any) -> None:
    first = await api.submit(key="k")
    other = await api.submit(key="k", name="another")
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"
    assert first.json()["id"] in other.json()["detail"]


async def test_a_key_still_answers_when_the_queue_is_full_and_the_data_are_gone(api: Any, engine: Any) -> None:
    first = await api.submit(key="k")
    await engine.complete(first.json()["id"])
    dataset = first.json()["spec"]["data"]["train"].removeprefix("dataset:")
    assert (await api.delete(f"/api/v1/datasets/{dataset}")).status_code == 204
    again = await api.submit(key="k", data=f"dataset:{dataset}")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_one_key_sent_many_times_at_once_makes_one_job(api: Any) -> None:
    await api.dataset()
    answers = await asyncio.gather(*(api.submit(key="k") for _ in range(20)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len((await api.get("/api/v1/jobs")).json()["items"]) == 1


async def test_a_full_queue_refuses_and_says_so_however_many_come_at_once(api: Any) -> None:
    await api.dataset()
    answers = await asyncio.gather(*(api.submit() for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [429] * 7
    refused = next(answer.json() for answer in answers if answer.status_code == 429)
    assert refused["code"] == "queue_full"
    assert "RUNYARD_MAX_WAITING" in refused["hint"]


async def test_a_full_queue_takes_nobody_back_either(api: Any, engine: Any) -> None:
    paused, failed = await api.job(), await api.job()
    await api.post(f"/api/v1/jobs/{paused}/pause")
    await engine.move(failed, Cause.PLACED, Cause.FAILED)
    others = [await api.job() for _ in range(5)]
    for job, wish in ((paused, "resume"), (failed, "retry")):
        refused = await api.post(f"/api/v1/jobs/{job}/{wish}")
        assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
        assert (await api.post(f"/api/v1/jobs/{others.pop()}/cancel")).status_code == 200
        assert (await api.post(f"/api/v1/jobs/{job}/{wish}")).json()["state"] == "queued"
        assert (await api.post(f"/api/v1/jobs/{job}/{wish}")).status_code == 200, "it waits already"


async def test_a_script_may_be_longer_than_an_index_takes(api: Any) -> None:
    spec = {"kind": "script", "command": ["python3", "-c", random.Random(1).randbytes(9000).hex()]}
    assert (await api.post("/api/v1/jobs", json=spec)).status_code == 201


async def test_a_full_disk_refuses_a_job_and_leaves_nothing(api: Any, yard: Yard) -> None:
    await api.dataset()
    object.__setattr__(yard.context, "min_free", 1 << 60)
    answer = await api.submit()
    assert (answer.status_code, answer.json()["code"]) == (507, "no_room")
    assert (await api.get("/api/v1/jobs")).json()["items"] == []


MOVES: list[tuple[list[Cause], str, int, str]] = [
    ([], "pause", 200, "paused"),
    ([Cause.PLACED, Cause.STARTED], "pause", 200, "pausing"),
    ([Cause.PLACED, Cause.STARTED], "cancel", 200, "cancelling"),
    ([Cause.PAUSE_ASKED], "resume", 200, "queued"),
    ([Cause.PLACED, Cause.STARTED, Cause.PAUSE_ASKED], "resume", 200, "pausing"),
    ([Cause.PAUSE_ASKED], "pause", 200, "paused"),
    ([Cause.CANCEL_ASKED], "retry", 200, "queued"),
    ([Cause.PLACED, Cause.STARTED, Cause.COMPLETED], "pause", 409, "completed"),
    ([Cause.PLACED, Cause.STARTED, Cause.COMPLETED], "retry", 409, "completed"),
    ([Cause.PLACED, Cause.STARTED, Cause.FAILED], "resume", 409, "failed"),
]


async def test_asking_a_job_to_move(api: Any, engine: Any) -> None:
    for before, ask, status, after in MOVES:
        job_id = await api.job()
        await engine.move(job_id, *before)
        answer = await api.post(f"/api/v1/jobs/{job_id}/{ask}")
        state = (await api.get(f"/api/v1/jobs/{job_id}")).json()["state"]
        assert (answer.status_code, state) == (status, after), (before, ask)
        if status == 409:
            assert answer.json()["code"] == "illegal_move"
            assert answer.json()["detail"].startswith(f"a {after} job can't be {ask.rstrip('y').removesuffix('e')}")


async def test_a_job_whose_data_are_gone_is_not_taken_up_again(api: Any, engine: Any) -> None:
    job_id = await api.job()
    await engine.move(job_id, Cause.PLACED, Cause.STARTED, Cause.FAILED)
    await api.delete(f"/api/v1/datasets/{await api.dataset()}")
    answer = await api.post(f"/api/v1/jobs/{job_id}/retry")
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"] == "data.train"


async def test_lists_filter_and_page(api: Any, engine: Any) -> None:
    names = ["Alpha", "beta 100%", "alphabet", "gamma_x", "delta"]
    ids = [await api.job(name=name) for name in names]
    await engine.complete(ids[0])

    async def listed(**query: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = (await api.get("/api/v1/jobs", params={"limit": 2, **query})).json()
            found += [item["name"] for item in page["items"]]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    assert await listed() == names[::-1]
    assert await listed(name="alpha") == ["alphabet", "Alpha"]
    assert await listed(name="%") == ["beta 100%"]
    assert await listed(name="_") == ["gamma_x"]
    assert await listed(state="completed") == ["Alpha"]
    assert await listed(state=["completed", "queued"]) == names[::-1]
    assert await listed(kind="dpo") == []
    assert "spec" not in (await api.get("/api/v1/jobs")).json()["items"][0]
