"""Templates over HTTP: versions, places to fill in, jobs made of them, and whose they are."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from tests.integration.server.people import settle

from runyard.db.queries import audit
from runyard.server.deps import Yard

TEMPLATES = "/api/v1/templates"


async def saved(api: Any, name: str = "orders", **ask: Any) -> dict[str, Any]:
    if not {"spec", "yaml", "job_id"} & set(ask):
        ask["spec"] = {
            "kind": "sft",
            "name": "orders at ${LR}",
            "model": "${MODEL:-owner/model}",
            "data": f"dataset:{await api.dataset()}",
            "training": {"learning_rate": "${LR:-2e-4}", "epochs": "${EPOCHS}"},
        }
    answer = await api.post(TEMPLATES, json={"name": name, **ask})
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


def problems(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {problem["field"]: problem["message"] for problem in answer.json()["problems"]}


async def test_saved_again_it_is_the_next_version_and_the_old_one_stays(api: Any) -> None:
    first = await saved(api, description="what we do every week", variables={"EPOCHS": {"description": "how often"}})
    assert (first["version"], first["user"], first["kind"]) == (1, "local", "sft")
    assert first["variables"] == [
        {"name": "LR", "default": "2e-4", "description": None, "fields": ["name", "training.learning_rate"]},
        {"name": "MODEL", "default": "owner/model", "description": None, "fields": ["model"]},
        {"name": "EPOCHS", "default": None, "description": "how often", "fields": ["training.epochs"]},
    ]
    again = await api.post(TEMPLATES, json={"name": "orders", "spec": first["spec"]})
    assert (again.status_code, again.json()) == (200, first), "the very same is no other version"
    second = await saved(api, spec=first["spec"] | {"priority": "high"})
    assert (second["version"], second["description"]) == (2, "what we do every week")
    assert second["variables"][2]["description"] == "how often"
    assert (await api.get(f"{TEMPLATES}/orders")).json() == second
    assert (await api.get(f"{TEMPLATES}/orders", params={"version": 1})).json() == first
    cleared = await saved(api, spec=second["spec"], description="")
    assert (cleared["version"], cleared["description"]) == (3, None)
    missing = await api.get(f"{TEMPLATES}/orders", params={"version": 4})
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no version 4 of the template 'orders'")
    page = (await api.get(f"{TEMPLATES}/orders/versions", params={"limit": 2})).json()
    assert [item["version"] for item in page["items"]] == [3, 2]
    rest = await api.get(f"{TEMPLATES}/orders/versions", params={"limit": 2, "cursor": page["next_cursor"]})
    assert [item["version"] for item in rest.json()["items"]] == [1]
    await saved(api, "other")
    listed = (await api.get(TEMPLATES)).json()["items"]
    assert [(item["name"], item["version"]) for item in listed] == [("other", 1), ("orders", 3)]
    assert "spec" not in listed[0]


async def test_saved_at_once_each_gets_a_version_of_its_own(api: Any) -> None:
    spec = (await saved(api))["spec"]
    bodies = [{"name": "orders", "spec": spec | {"name": f"run {number}"}} for number in range(6)]
    answers = await asyncio.gather(*(api.post(TEMPLATES, json=body) for body in bodies))
    assert sorted(answer.json()["version"] for answer in answers) == [2, 3, 4, 5, 6, 7]


async def test_filled_in_it_is_a_job_with_the_types_of_its_fields(api: Any) -> None:
    await saved(api)
    filled = await api.post(f"{TEMPLATES}/orders/spec", json={"values": {"EPOCHS": "3", "LR": 1e-5}})
    assert filled.status_code == 200, filled.text
    spec = filled.json()["spec"]
    assert spec["training"] == {"learning_rate": 1e-5, "epochs": 3}
    assert (spec["name"], spec["model"]) == ("orders at 1e-05", {"name": "owner/model"})
    assert (await api.get("/api/v1/jobs")).json()["items"] == [], "nothing was submitted"
    checked = await api.post("/api/v1/jobs", json=spec)
    assert checked.status_code == 201, "what it gives can be submitted as it is"


async def test_what_is_wrong_is_told_with_the_field_and_the_variable(api: Any) -> None:
    await saved(api)
    url = f"{TEMPLATES}/orders/jobs"
    assert problems(await api.post(url, json={"values": {"EPOCH": 3}})) == {
        "values.EPOCH": "the template has no such variable; it has: LR, MODEL, EPOCHS",
        "values.EPOCHS": "is required: it stands in training.epochs",
    }
    found = problems(await api.post(url, json={"values": {"EPOCHS": "many", "LR": -1}}))
    assert found["training.epochs"].endswith("(got 'many'); it comes from ${EPOCHS}")
    assert found["training.learning_rate"].endswith("it comes from ${LR}")
    model = await api.post(url, json={"values": {"EPOCHS": 1, "MODEL": "/etc"}})
    assert list(problems(model)) == ["model.name"], "it may name no more than any other job"


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({"spec": {"kind": "sft", "model": "a/b", "data": "c/d", "trainning": {"epochs": "${E}"}}}, "trainning"),
        (
            {"spec": {"kind": "sft", "model": "a/b", "data": "c/d", "training": {"epochs": "${E:-no}"}}},
            "training.epochs",
        ),
        ({"spec": {"kind": "none"}}, "kind"),
        ({"spec": {}}, "kind"),
        ({"spec": {"kind": "script", "command": ["${"]}}, "command.0"),
        ({"yaml": "kind: sft\n\tmodel: x"}, "yaml"),
        ({"yaml": "- a list"}, "yaml"),
        ({"job_id": "x", "spec": {"kind": "sft"}}, "spec"),
        ({}, "spec"),
        ({"spec": {"kind": "script", "command": ["x"]}, "variables": {"V": {"description": "?"}}}, "variables.V"),
        ({"spec": {"kind": "script", "command": ["x"]}, "variables": {"V": {"field": "name"}}}, "variables.V.field"),
    ],
)
async def test_what_could_never_become_a_job_is_not_kept(api: Any, ask: dict[str, Any], field: str) -> None:
    assert field in problems(await api.post(TEMPLATES, json={"name": "bad", **ask}))
    assert (await api.get(f"{TEMPLATES}/bad")).status_code == 404


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", " a", "a ", "x" * 101, "-x", "a\n", "a\x1b[2J", "<b>", "a\u202eb"]
)
async def test_names_are_plain_words(api: Any, name: str) -> None:
    spec = {"kind": "script", "command": ["true"]}
    assert "name" in problems(await api.post(TEMPLATES, json={"name": name, "spec": spec}))


@pytest.mark.parametrize("name", ["a", "orders sft", "müde Läufe (2)", "ночь", "a.b-c_d", "x" * 100])
async def test_names_stand_in_addresses_as_they_are(api: Any, name: str) -> None:
    answer = await api.post(TEMPLATES, json={"name": name, "spec": {"kind": "script", "command": ["true"]}})
    assert answer.status_code == 201, answer.text
    assert (await api.get(answer.headers["Location"])).json()["name"] == name
    assert (await api.delete(f"{TEMPLATES}/{quote(name, safe='')}")).status_code == 204


async def test_from_yaml_and_its_comments_are_gone(api: Any) -> None:
    text = (
        "kind: script  # ours\nfile: /a/train.py\nargs: ['--lr', '${LR:-1e-3}']\nenv:\n  T: secret:HF_TOKEN\nlimits:\n"
    )
    found = await saved(api, yaml=text)
    assert found["spec"] == {
        "kind": "script", "file": "/a/train.py", "args": ["--lr", "${LR:-1e-3}"], "env": {"T": "secret:HF_TOKEN"},
    }  # fmt: skip
    bad = await api.post(TEMPLATES, json={"name": "bad", "yaml": "kind: sft\nkind: dpo"})
    assert bad.json()["problems"][0]["line"] == 2


async def test_from_a_job_with_some_of_its_fields_as_variables(api: Any) -> None:
    job = await api.job(name="${not} a place", training={"learning_rate": 2e-4})
    fields = {"LR": {"field": "training.learning_rate", "description": "step"}, "P": {"field": "priority"}}
    found = await saved(api, job_id=job, variables=fields)
    assert found["job_id"] == job
    assert found["spec"]["name"] == "$${not} a place"
    assert [(one["name"], one["default"], one["description"]) for one in found["variables"]] == [
        ("LR", "0.0002", "step"), ("P", "normal", None),
    ]  # fmt: skip
    made = (await api.post(f"{TEMPLATES}/orders/jobs", json={"values": {"P": "high"}})).json()
    assert (made["name"], made["priority"]) == ("${not} a place", "high")
    assert made["spec"]["training"] == {"learning_rate": 2e-4}
    unknown = await api.post(TEMPLATES, json={"name": "x", "job_id": job, "variables": {"V": {"field": "no.such"}}})
    assert problems(unknown) == {"variables.V": "the job has no field 'no.such'"}
    assert (await api.post(TEMPLATES, json={"name": "x", "job_id": "nothing"})).status_code == 404


async def test_a_job_keeps_in_mind_what_it_was_made_from(api: Any) -> None:
    template = await saved(api)
    url = f"{TEMPLATES}/orders"
    made = await api.post(f"{url}/jobs", json={"values": {"EPOCHS": 1, "LR": "3e-4"}})
    assert made.status_code == 201, made.text
    job = made.json()
    assert job["template"] == {"name": "orders", "version": 1}
    assert made.headers["Location"] == f"/api/v1/jobs/{job['id']}"
    assert (await api.get("/api/v1/jobs")).json()["items"][0]["template"] == job["template"]
    changed = job["spec"] | {"priority": "low"}
    other = (await api.post(f"{url}/jobs", json={"version": 1, "spec": changed})).json()
    await saved(api, spec=template["spec"] | {"priority": "urgent"})
    difference = (await api.get(f"/api/v1/jobs/{other['id']}/template")).json()
    assert (difference["name"], difference["version"]) == ("orders", 1), "with the version that it was made from"
    assert {change["field"]: (change["from"], change["to"]) for change in difference["changes"]} == {
        "name": ("orders at 2e-4", "orders at 3e-4"),
        "training.learning_rate": (2e-4, 3e-4),
        "training.epochs": ("${EPOCHS}", 1),
        "priority": (None, "low"),
    }
    assert (await api.delete(url)).status_code == 204
    await saved(api)
    gone = (await api.get(f"/api/v1/jobs/{other['id']}/template")).json()
    assert gone == {"name": "orders", "version": 1, "changes": None}, "another of the same name is another"
    plain = await api.job()
    assert (await api.get(f"/api/v1/jobs/{plain}/template")).status_code == 404


async def test_sent_again_with_its_key_it_is_the_same_job_whatever_became_of_the_template(api: Any) -> None:
    template = await saved(api)
    url, body = f"{TEMPLATES}/orders/jobs", {"values": {"EPOCHS": 1}}
    first = await api.post(url, json=body, headers={"Idempotency-Key": "k"})
    assert first.status_code == 201
    await saved(api, spec=template["spec"] | {"priority": "high"})
    again = await api.post(url, json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert (await api.delete(f"{TEMPLATES}/orders")).status_code == 204
    again = await api.post(url, json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = await api.post(url, json={"values": {"EPOCHS": 2}}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert (await api.post(url, json=body)).status_code == 404
    answers = await asyncio.gather(*(submit_twice(api) for _ in range(3)))
    assert len(set(answers)) == 1


async def submit_twice(api: Any) -> str:
    await saved(api, "again")
    body, key = {"values": {"EPOCHS": 1}}, {"Idempotency-Key": "at once"}
    return str((await api.post(f"{TEMPLATES}/again/jobs", json=body, headers=key)).json()["id"])


async def test_the_tenant_shares_them_and_their_owners_and_admins_change_them(api: Any, yard: Yard) -> None:
    people = await settle(yard)
    spec = {"kind": "script", "command": ["true"]}

    async def save(who: str, **ask: Any) -> int:
        body = {"name": "ours", "spec": spec, **ask}
        return int((await api.post(TEMPLATES, json=body, headers=people.headers(who))).status_code)

    api.cookies.clear()
    assert await save("viewer") == 403
    assert await save("owner") == 201
    assert await save("member", description="mine now") == 403
    assert await save("admin", description="as we do it") == 201
    found = await api.get(f"{TEMPLATES}/ours", headers=people.headers("viewer"))
    assert (found.json()["user"], found.json()["saved_by"], found.json()["version"]) == ("max", "anna", 2)
    made = await api.post(f"{TEMPLATES}/ours/jobs", json={}, headers=people.headers("member"))
    assert (made.status_code, made.json()["user"]) == (201, "mia")
    assert (await api.delete(f"{TEMPLATES}/ours", headers=people.headers("member"))).status_code == 403
    assert await save("foreign admin") == 201, "each tenant has names of its own"
    theirs = await api.get(f"{TEMPLATES}/ours", headers=people.headers("foreign admin"))
    assert (theirs.json()["version"], theirs.json()["user"]) == (1, "otto")
    forbidden = await api.post(f"{TEMPLATES}/ours/jobs", json={}, headers=people.headers("foreign admin"))
    assert forbidden.status_code == 403, "a tenant that may run no scripts can't do it by a template either"
    from_ours = {"name": "stolen", "job_id": made.json()["id"]}
    stolen = await api.post(TEMPLATES, json=from_ours, headers=people.headers("foreign admin"))
    assert stolen.status_code == 404
    assert (await api.delete(f"{TEMPLATES}/ours", headers=people.headers("owner"))).status_code == 204
    assert (await api.get(f"{TEMPLATES}/ours", headers=people.headers("foreign admin"))).status_code == 200


async def test_what_was_done_stands_in_the_audit_log(api: Any, yard: Yard) -> None:
    await saved(api)
    made = (await api.post(f"{TEMPLATES}/orders/jobs", json={"values": {"EPOCHS": 1}})).json()
    await api.delete(f"{TEMPLATES}/orders")
    async with yard.database.read() as session:
        entries = await audit.page(session, audit.Filter(), None, 10)
    done = [(entry.action, entry.target, entry.details) for entry in entries][:3]
    assert done == [
        ("delete_template", "orders", {}),
        ("submit_template", made["id"], {"template": "orders:1"}),
        ("save_template", "orders", {}),
    ]
