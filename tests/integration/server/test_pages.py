"""Every page asks who looks, shows what is theirs, and nothing that is others'."""

import re
from contextlib import suppress
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.requests import Request
from tests.integration.server.people import People, settle

from runyard.db.tables import DataSet
from runyard.domain.errors import TooManyRequestsError
from runyard.server.deps import Yard
from runyard.server.web.site import PAGES

MARKED = "markedname"
OPEN = {"/sign-in", "/setup"}
SEEN = {
    "/",
    "/jobs",
    "/jobs/{job_id}",
    "/jobs/{job_id}/menu",
    "/compare",
    "/data",
    "/data/{dataset_id}",
    "/templates",
    "/settings",
}
SUBMITTING = {"/new", "/new/check", "/jobs/{job_id}/cancel"}
MANAGING = {"/people", "/audit"}


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
async def people(api: Any, yard: Yard) -> People:
    job_id = await api.job(name=MARKED, tags=["marked"])
    template = {"name": "nightly", "spec": {"kind": "script", "command": "echo ${WORD}", "name": MARKED}}
    assert (await api.post("/api/v1/templates", json=template)).status_code == 201
    people = await settle(yard)
    people.ids["job_id"] = job_id
    return people


def address(path: str, api: Any, job_id: str) -> str:
    return path.replace("{job_id}", job_id).replace("{dataset_id}", api._dataset) + (
        f"?jobs={job_id}" if path == "/compare" else ""
    )


async def ask(api: Any, path: str, headers: dict[str, str] | None = None) -> Any:
    if path == "/new/check":
        return await api.post(path, json={"text": "kind: sft\n"}, headers=headers or {})
    return await api.get(path, headers=headers or {})


def test_this_table_has_every_page() -> None:
    paths: set[str] = set()
    for route in PAGES.routes:
        inner = getattr(route, "original_router", None)
        prefix = route.include_context.prefix if inner is not None else ""
        paths |= {prefix + one.path for one in (inner.routes if inner else [route]) if isinstance(one, APIRoute)}
    assert paths == OPEN | SEEN | SUBMITTING | MANAGING


async def test_who_is_not_known_is_asked_to_sign_in_and_sent_back_after(api: Any, people: People) -> None:
    assert (await ask(api, "/new/check")).status_code == 401
    for path in sorted(SEEN | SUBMITTING - {"/new/check"} | MANAGING):
        answer = await ask(api, address(path, api, people.ids["job_id"]))
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/sign-in"), path
        assert MARKED not in answer.text
    answer = await api.get("/jobs?q=a&state=failed")
    assert answer.headers["location"] == "/sign-in?next=%2Fjobs%3Fq%3Da%26state%3Dfailed"
    for path in OPEN:
        assert (await api.get(path)).status_code == 200, path


@pytest.mark.parametrize("next_", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_nobody_is_sent_on_to_another_site(api: Any, people: People, next_: str) -> None:
    answer = await api.get("/sign-in", params={"next": next_})
    assert 'data-open="/"' in answer.text


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("who", "allowed"),
    [("viewer", SEEN), ("member", SEEN | SUBMITTING), ("admin", SEEN | SUBMITTING | MANAGING)],
)
async def test_everybody_sees_the_pages_of_their_role(api: Any, people: People, who: str, allowed: set[str]) -> None:
    for path in sorted(SEEN | SUBMITTING | MANAGING):
        answer = await ask(api, address(path, api, people.ids["job_id"]), people.headers(who))
        assert answer.status_code == (200 if path in allowed else 403), f"{who} {path}: {answer.text[:300]}"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|javascript:", answer.text), path


async def test_a_template_is_filled_in_where_its_places_have_values(api: Any, people: People) -> None:
    headers = people.headers("member")
    assert "nightly" in (await api.get("/templates", headers=headers)).text
    empty = await api.get("/new?template=nightly", headers=headers)
    assert "echo ${WORD}" in empty.text
    assert 'name="v.WORD"' in empty.text
    filled = await api.get("/new?template=nightly&v.WORD=hello", headers=headers)
    assert "command: echo hello" in filled.text
    assert (await api.get("/new?template=nightly", headers=people.headers("foreign admin"))).status_code == 404


async def test_pages_of_another_tenant_hold_nothing_of_ours(api: Any, people: People) -> None:
    headers, unknown = people.headers("foreign admin"), "0123456789ab"
    for path in sorted(SEEN | SUBMITTING | MANAGING):
        answer = await ask(api, address(path, api, people.ids["job_id"]), headers)
        assert MARKED not in answer.text, path
        assert "orders.jsonl" not in answer.text, path
        if "{" in path or path == "/compare":
            missing = await ask(api, address(path, api, unknown).replace(api._dataset, unknown), headers)
            ids = (people.ids["job_id"], api._dataset)
            text = answer.text
            for id_ in ids:
                text = text.replace(id_, unknown)
            assert (answer.status_code, text) == (404, missing.text), path


async def test_what_people_write_is_text_and_never_markup(api: Any) -> None:
    evil = "<img src=x onerror=alert(1)>\"'`{{7*7}}"
    id_ = await api.job(name=evil)
    for path in (
        "/",
        "/jobs",
        f"/jobs/{id_}",
        f"/jobs/{id_}/cancel",
        f"/compare?jobs={id_}",
        f"/new?from={id_}",
        f"/jobs?q={evil}",
    ):
        answer = await api.get(path)
        assert answer.status_code == 200, path
        assert "<img" not in answer.text, path
        assert "{{7*7}}" in answer.text or "q=" in path or path == "/", path


async def test_a_page_that_is_not_there_is_said_in_html_and_a_path_of_programs_in_json(api: Any) -> None:
    page, program = await api.get("/nowhere"), await api.get("/api/v1/nowhere")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert (program.status_code, program.headers["content-type"]) == (404, "application/problem+json")


async def test_a_data_set_from_before_lengths_were_counted_has_its_page(api: Any, yard: Yard) -> None:
    rows = b'{"prompt": "a", "completion": "b"}\n'
    made = (await api.post("/api/v1/datasets", files={"file": ("a.jsonl", rows)})).json()
    path = f"/data/{made['id']}"
    assert "Half of the rows have up to" in (await api.get(path)).text
    async with yard.database.write() as session:
        found = await session.get_one(DataSet, made["id"])
        found.report = {name: value for name, value in found.report.items() if name != "lengths"}
    page = await api.get(path)
    assert (page.status_code, "Half of the rows" in page.text) == (200, False)


async def test_files_of_the_page_are_kept_by_browsers_and_lead_nowhere_else(api: Any) -> None:
    page = (await api.get("/")).text
    for address_ in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        answer = await api.get(address_)
        assert answer.status_code == 200, address_
        assert "immutable" in answer.headers["cache-control"]
    style = "/static/v/runyard.css"
    packed, whole = [await api.get(style, headers={"accept-encoding": encoding}) for encoding in ("gzip", "identity")]
    assert packed.content == whole.content
    assert (packed.headers.get("content-encoding"), "content-encoding" in whole.headers) == ("gzip", False)
    earlier = await api.get("/static/0123456789ab/frame.js")
    assert (earlier.status_code, earlier.headers.get("cache-control")) == (200, "no-store")
    outside = (
        "../site.py",
        "%2e%2e/site.py",
        "..%2fsite.py",
        "html/base.html",
        "v/../../site.py",
        "v/..%2f..%2fsite.py",
        "v//etc/passwd",
        "v",
    )
    for path in (f"/static/{name}" for name in outside):
        assert (await api.get(path)).status_code == 404, path


async def test_many_files_of_one_page_are_no_flood(api: Any, people: People, yard: Yard) -> None:
    """They are asked for without saying who asks, and an office has one address."""
    while (await api.get("/sign-in")).status_code == 200:
        for _ in range(20):
            with suppress(TooManyRequestsError):
                await yard.gate.let_pass(Request({"type": "http", "client": ("127.0.0.1", 1), "headers": []}))
    assert (await api.get("/static/v/runyard.css")).status_code == 200
