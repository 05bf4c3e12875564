"""Secrets by the API: set by admins, named by jobs, shown to nobody."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from runyard.db.queries import audit as audit_queries
from runyard.db.queries.audit import Filter
from runyard.db.tables import Job, Secret
from runyard.server.deps import Yard
from runyard.services import secrets
from runyard.services.secrets import UnusableError

VALUE = "hf_hunter2hunter2"
SECRETS = "/api/v1/secrets"


@pytest.fixture
def backend() -> str:
    return "sqlite"


async def put(api: Any, name: str = "HF_TOKEN", value: Any = VALUE) -> Any:
    return await api.put(f"{SECRETS}/{name}", json={"value": value})


def script(**env: str) -> dict[str, Any]:
    return {"kind": "script", "command": ["true"], "env": env}


async def test_a_secret_is_set_listed_changed_and_removed_and_its_value_never_shown(api: Any) -> None:
    answers = [await put(api), await put(api, value=VALUE + "2"), await put(api, "WANDB_KEY"), await api.get(SECRETS)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert not any(VALUE in answer.text for answer in answers)
    assert [item["name"] for item in answers[-1].json()["items"]] == ["HF_TOKEN", "WANDB_KEY"]
    assert answers[-1].json()["items"][0].keys() == {"name", "user", "changed_at"}
    assert (await api.delete(f"{SECRETS}/HF_TOKEN")).status_code == 204
    assert [item["name"] for item in (await api.get(SECRETS)).json()["items"]] == ["WANDB_KEY"]
    gone = await api.delete(f"{SECRETS}/HF_TOKEN")
    assert gone.status_code == 404
    assert "HF_TOKEN" in gone.json()["detail"]


@pytest.mark.parametrize("name", ["hf_token", "1A", "_A", "A-B", "A" * 65, "Ä", "A%20B"])
async def test_a_name_is_one_that_an_environment_variable_may_have(api: Any, name: str) -> None:
    answer = await put(api, name)
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["problems"]] == ["name"]


async def test_a_name_with_nul_in_it_gets_no_further_than_the_door(api: Any) -> None:
    assert (await put(api, "A%00")).status_code == 400
    assert (await api.get(SECRETS)).json()["items"] == []


@pytest.mark.parametrize(
    "value",
    ["", "hunt2", "  hunt2 \n", "hunter2\0hunter2", "hunter2-" + "x" * 16_385, 1234567890123, ["hunter2"], None],
)
async def test_a_value_that_can_not_be_kept_is_refused_and_not_repeated(api: Any, value: Any) -> None:
    answer = await put(api, value=value)
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["problems"]] == ["value"]
    assert "hunt" not in answer.text
    assert "1234567890123" not in answer.text


async def test_half_a_character_is_refused(api: Any) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.put(f"{SECRETS}/HF_TOKEN", content=b'{"value": "hunter2\\ud800"}', headers=headers)
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


async def test_a_wrong_password_is_not_repeated_either(api: Any) -> None:
    for value in ("hunter2" * 200, 1234567890123):
        answer = await api.post("/api/v1/session", json={"name": "ada", "password": value})
        assert answer.status_code == 422
        assert "hunter2" not in answer.text
        assert "1234567890123" not in answer.text


async def test_there_may_be_so_many(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "MOST", 2)
    assert [(await put(api, name)).status_code for name in ("A", "B", "C", "A")] == [200, 200, 409, 200]


async def test_it_is_kept_sealed_and_the_audit_log_tells_who_but_not_what(api: Any, yard: Yard) -> None:
    await put(api)
    await api.delete(f"{SECRETS}/HF_TOKEN")
    await put(api)
    async with yard.database.read() as session:
        [row] = await session.scalars(select(Secret))
        entries = await audit_queries.page(session, Filter(), None, 10)
    assert VALUE.encode() not in row.sealed
    done = [entry.action for entry in reversed(entries) if (entry.target, entry.user) == ("HF_TOKEN", "local")]
    assert done == ["set_secret", "remove_secret", "set_secret"]
    assert not any(VALUE in str(entry.details) for entry in entries)


async def test_a_script_names_its_secrets_and_what_is_kept_and_shown_is_the_name(api: Any, yard: Yard) -> None:
    await put(api)
    answer = await api.post("/api/v1/jobs", json=script(TOKEN="secret:HF_TOKEN", OTHER="x secret:HF_TOKEN"))
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["env"]["TOKEN"] == "secret:HF_TOKEN"
    async with yard.database.read() as session:
        job = await session.get_one(Job, answer.json()["id"])
    assert VALUE not in str((job.spec, job.resolved_spec))


async def test_one_that_is_not_there_is_refused_with_the_command_that_sets_it(api: Any) -> None:
    await put(api, "OTHER")
    answer = await api.post("/api/v1/jobs", json=script(TOKEN="secret:HF_TOKEN", FINE="secret:OTHER"))
    assert answer.status_code == 422
    [problem] = answer.json()["problems"]
    assert problem["field"] == "env.TOKEN"
    assert "`runyard secrets set HF_TOKEN`" in problem["message"]


@pytest.mark.parametrize("value", ["secret:", "secret:hf_token", "secret:HF_TOKEN ", "secret:A:B"])
async def test_what_looks_like_a_secret_and_names_none_is_no_plain_text(api: Any, value: str) -> None:
    answer = await api.post("/api/v1/jobs", json=script(TOKEN=value))
    assert answer.status_code == 422
    assert "secret:HF_TOKEN" in answer.text


async def test_a_sealed_value_that_is_moved_to_another_row_stays_closed(api: Any, yard: Yard) -> None:
    """As somebody could who can write into the database and nothing else."""
    await put(api, "THEIRS")
    await put(api, "MINE", "something else")
    async with yard.database.write() as session:
        rows = {row.name: row for row in await session.scalars(select(Secret))}
        rows["MINE"].sealed = rows["THEIRS"].sealed
    async with yard.database.read() as session:
        with pytest.raises(UnusableError, match=r"MINE can't be opened: .*another place"):
            await secrets.given(session, Job(kind="script", tenant="main"), {"X": "MINE"}, yard.context)


async def test_with_another_key_file_it_is_said_what_is_wrong(api: Any, yard: Yard) -> None:
    await put(api)
    context = replace(yard.context, private_key=bytes(32))
    async with yard.database.read() as session:
        with pytest.raises(UnusableError, match=r"another key than that in secret\.key.*runyard secrets set HF_TOKEN"):
            await secrets.given(session, Job(kind="sft", tenant="main"), {}, context)
