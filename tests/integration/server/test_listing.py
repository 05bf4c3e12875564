"""Lists of jobs: what filters let pass, how they are sorted, paged and counted; changing many at once."""

from typing import Any

import pytest
from sqlalchemy import update

from runyard.db.tables import Job
from runyard.domain.lifecycle import Cause
from runyard.server.deps import Yard

LIST = "/api/v1/jobs"


async def names(api: Any, **query: Any) -> list[str]:
    answer = await api.get(LIST, params=query)
    assert answer.status_code == 200, answer.text
    return [job["name"] for job in answer.json()["items"]]


async def walked(api: Any, limit: int, **query: Any) -> list[str]:
    """All pages, one after the other."""
    found, cursor = [], None
    while True:
        page = (await api.get(LIST, params={**query, "limit": limit, **({"cursor": cursor} if cursor else {})})).json()
        found += [job["name"] for job in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            return found


async def set_facts(yard: Yard, **by_name: dict[str, Any]) -> None:
    async with yard.database.write() as session:
        for name, facts in by_name.items():
            await session.execute(update(Job).where(Job.name == name).values(facts))


@pytest.fixture
async def four(api: Any, yard: Yard) -> dict[str, str]:
    """By name; each a second after the one before."""
    specs: dict[str, dict[str, Any]] = {
        "Alpha": {"model": "owner/Base-8B", "tags": ["baseline", "team/nlp"], "experiment": "support"},
        "beta_1": {"model": "owner/base-1b", "tags": ["team/nlp-2"], "experiment": "support"},
        "gamma%": {"model": "other/tiny", "priority": "low"},
        "delta": {"model": "owner/base-1b", "tags": ["base"], "experiment": "Support"},
    }
    ids = {name: await api.job(name=name, **fields) for name, fields in specs.items()}
    await set_facts(yard, **{name: {"created_at": 1000.0 + at} for at, name in enumerate(ids)})
    return ids


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"model": "BASE-1"}, ["delta", "beta_1"]),
        ({"model": "alpha"}, []),
        ({"name": "BASE"}, []),
        ({"name": "a_1"}, ["beta_1"]),
        ({"name": "a%"}, ["gamma%"]),
        ({"tag": "team/nlp"}, ["Alpha"]),
        ({"tag": "base"}, ["delta"]),
        ({"tag": "%"}, []),
        ({"experiment": "support"}, ["beta_1", "Alpha"]),
        ({"q": "base"}, ["delta", "beta_1", "Alpha"]),
        ({"q": "base nlp"}, ["beta_1", "Alpha"]),
        ({"q": "team/nlp ALPHA"}, ["Alpha"]),
        ({"q": "%"}, ["gamma%"]),
        ({"created_from": 1001, "created_to": 1003}, ["gamma%", "beta_1"]),
        ({"user": "local", "kind": "sft", "state": ["queued", "paused"]}, ["delta", "gamma%", "beta_1", "Alpha"]),
        ({"user": "nobody"}, []),
        ({"priority": "low"}, ["gamma%"]),
        ({"priority": "normal", "model": "base-1"}, ["delta", "beta_1"]),
        ({"state": "failed"}, []),
    ],
    ids=str,
)
async def test_a_filter_lets_pass_what_it_names(
    api: Any, four: dict[str, str], query: dict[str, Any], expected: list[str]
) -> None:
    assert await names(api, **query) == expected


async def test_a_part_of_the_id_finds_the_job(api: Any, four: dict[str, str]) -> None:
    assert await names(api, q=four["delta"][:8]) == ["delta"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_what_is_sorted_comes_whole_over_pages_of_any_length(
    api: Any, yard: Yard, four: dict[str, str], limit: int
) -> None:
    losses = {"Alpha": 0.5, "beta_1": 0.5, "gamma%": 0.1}
    await set_facts(
        yard, **{name: {"best_name": "loss", "best_value": loss, "best_step": 3} for name, loss in losses.items()}
    )
    assert await walked(api, limit, sort="loss", order="asc") == ["gamma%", "Alpha", "beta_1", "delta"]
    assert await walked(api, limit, sort="loss") == ["beta_1", "Alpha", "gamma%", "delta"], "without one it is last"
    assert await walked(api, limit, sort="loss", order="asc", experiment="support") == ["Alpha", "beta_1"]
    assert await walked(api, limit, sort="throughput") == ["delta", "gamma%", "beta_1", "Alpha"]
    assert await walked(api, limit, order="asc") == ["Alpha", "beta_1", "gamma%", "delta"]


async def test_a_row_shows_what_it_is_sorted_by(api: Any, yard: Yard, four: dict[str, str], engine: Any) -> None:
    await set_facts(yard, Alpha={"best_name": "eval_loss", "best_value": 0.5, "best_step": 3, "throughput": 7.5})
    await engine.move(four["Alpha"], Cause.PLACED)
    row = (await api.get(LIST, params={"name": "alpha"})).json()["items"][0]
    assert row["best"] == {"name": "eval_loss", "value": 0.5, "step": 3}
    assert (row["model"], row["tags"], row["experiment"]) == ("owner/Base-8B", ["baseline", "team/nlp"], "support")
    assert (row["throughput"], row["last_loss"]) == (7.5, None)
    assert row["duration"] > 0, "it holds a machine"
    other = (await api.get(f"{LIST}/{four['delta']}")).json()
    assert (other["best"], other["duration"]) == (None, None)


async def test_a_cursor_of_another_order_is_refused(api: Any, four: dict[str, str]) -> None:
    cursor = (await api.get(LIST, params={"sort": "loss", "limit": 1})).json()["next_cursor"]
    for order in ("date", "duration"):
        refused = await api.get(LIST, params={"sort": order, "cursor": cursor})
        assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "cursor"), refused.text


async def test_counts_are_of_the_same_filter_whatever_state_it_names(
    api: Any, four: dict[str, str], engine: Any
) -> None:
    await engine.complete(four["Alpha"])
    for query in ({}, {"state": "queued"}):
        counts = (await api.get(f"{LIST}/counts", params=query)).json()
        assert (counts["total"], counts["by_state"]["completed"], counts["by_state"]["queued"]) == (4, 1, 3)
        assert counts["by_state"]["failed"] == 0
    narrowed = (await api.get(f"{LIST}/counts", params={"experiment": "support"})).json()
    assert (narrowed["total"], narrowed["by_state"]["queued"]) == (2, 1)


async def test_tags_and_priority_are_changed_and_found_by(api: Any, four: dict[str, str], engine: Any) -> None:
    path = f"{LIST}/{four['delta']}"
    changed = await api.patch(path, json={"tags": ["x", "x", "y"], "priority": "high"})
    assert (changed.json()["tags"], changed.json()["priority"]) == (["x", "y"], "high")
    assert (await names(api, tag="x"), await names(api, tag="base")) == (["delta"], [])
    told = (await api.get(f"{path}/events")).json()["items"][-1]
    assert (told["type"], told["data"]["tags"], told["data"]["actor"]) == ("changed", ["x", "y"], "local")
    assert (await api.get(f"{path}")).json()["queue_position"] == 1, "before those of lower priority"
    await engine.complete(four["delta"])
    refused = await api.patch(path, json={"priority": "low"})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_ready")
    assert (await api.patch(path, json={"tags": []})).json()["tags"] == []


@pytest.mark.parametrize(
    "body",
    [{}, {"tags": ["with blank"]}, {"tags": ["x" * 41]}, {"tags": [str(n) for n in range(21)]}, {"priority": "first"}],
    ids=str,
)
async def test_a_change_that_makes_no_sense_is_refused(api: Any, four: dict[str, str], body: dict[str, Any]) -> None:
    assert (await api.patch(f"{LIST}/{four['delta']}", json=body)).status_code == 422


async def test_many_are_changed_at_once_each_for_itself(api: Any, four: dict[str, str], engine: Any) -> None:
    await engine.complete(four["Alpha"])
    ids = [four["Alpha"], four["beta_1"], "nosuchjob", four["beta_1"]]
    items = (await api.post(f"{LIST}/bulk", json={"job_ids": ids, "action": "cancel"})).json()["items"]
    assert [(one["job_id"], one["outcome"], one["code"], one["state"]) for one in items] == [
        (four["Alpha"], "refused", "illegal_move", None),
        (four["beta_1"], "done", None, "cancelled"),
        ("nosuchjob", "refused", "not_found", None),
    ]
    ids = [four["delta"], four["gamma%"]]
    body = {"job_ids": ids, "action": "add_tags", "tags": ["base", "new"]}
    items = (await api.post(f"{LIST}/bulk", json=body)).json()["items"]
    assert [(one["outcome"], one["tags"]) for one in items] == [("done", ["base", "new"])] * 2
    again = (await api.post(f"{LIST}/bulk", json=body)).json()["items"]
    assert {one["outcome"] for one in again} == {"unchanged"}
    removed = await api.post(f"{LIST}/bulk", json=body | {"action": "remove_tags", "tags": ["base"]})
    assert [one["tags"] for one in removed.json()["items"]] == [["new"]] * 2
    full = [f"t{number}" for number in range(20)]
    refused = await api.post(f"{LIST}/bulk", json=body | {"tags": full})
    assert {one["outcome"] for one in refused.json()["items"]} == {"refused"}
    assert "21 tags" in refused.json()["items"][0]["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"job_ids": [], "action": "cancel"},
        {"job_ids": ["a"], "action": "add_tags"},
        {"job_ids": ["a"], "action": "cancel", "tags": ["x"]},
        {"job_ids": ["a"] * 201, "action": "cancel"},
        {"job_ids": ["a\0b", "ä"], "action": "cancel"},
    ],
    ids=lambda body: f"{body['action']} {len(body['job_ids'])}",
)
async def test_what_many_can_not_be_asked_is_refused(api: Any, body: dict[str, Any]) -> None:
    assert (await api.post(f"{LIST}/bulk", json=body)).status_code == 422
