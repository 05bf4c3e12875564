"""Every route and every feed, by everybody: one table. What is not in the table fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.routing import APIWebSocketRoute
from tests.integration.server.people import PASSWORD, People, leave_behind, leave_channel, settle
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runyard.db.queries import jobs
from runyard.domain.access import Act
from runyard.domain.lifecycle import Cause
from runyard.server import app, older
from runyard.server.deps import Yard

STRANGERS = ("nobody", "expired", "revoked", "nonsense")
UNKNOWN = {
    "job_id": "0123456789ab",
    "dataset_id": "0123456789ab",
    "artifact_id": "0123456789ab",
    "key_id": "nokey",
    "delivery_id": "msgnone",
}
SCRIPT = {"kind": "script", "command": ["true"]}


@dataclass(frozen=True)
class Route:
    """What it needs; `own` if the owner and admins alone may; `by_id` names what of ours it asks for by its id."""

    needs: Act | None
    own: bool = False
    by_id: str | None = None
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    upload: bool = False
    gone: bool = False
    """For nobody any more, once there are accounts."""


SEE, SUBMIT, MANAGE, OPERATE, MEASURE = Act.SEE, Act.SUBMIT, Act.MANAGE, Act.OPERATE, Act.MEASURE
OF_JOB = {"by_id": "job_id"}
ROUTES: dict[str, Route] = {
    "health": Route(None),
    "get_metrics": Route(MEASURE),
    "set_up": Route(None, body={"token": "guessed", "name": "me", "password": "something long enough"}, gone=True),
    "sign_in": Route(None, body={"name": "max", "password": PASSWORD}),
    "get_session": Route(SEE),
    "sign_out": Route(SEE),
    "change_password": Route(SEE, body={"old": "not the right one", "new": "something else then"}),
    "submit_job": Route(SUBMIT, body={"kind": "sft", "model": "owner/model", "data": "owner/rows"}),
    "preview_job": Route(SUBMIT, body=SCRIPT),
    "list_jobs": Route(SEE),
    "count_jobs": Route(SEE),
    "change_jobs": Route(SUBMIT, body={"job_ids": ["0123456789ab"], "action": "cancel"}),
    "change_job": Route(SUBMIT, own=True, **OF_JOB, body={"tags": ["baseline"]}),
    "get_job": Route(SEE, **OF_JOB),
    "pause_job": Route(SUBMIT, own=True, **OF_JOB),
    "resume_job": Route(SUBMIT, own=True, **OF_JOB),
    "cancel_job": Route(SUBMIT, own=True, **OF_JOB),
    "retry_job": Route(SUBMIT, own=True, **OF_JOB),
    "keep_job": Route(SUBMIT, own=True, **OF_JOB, body={"keep": True}),
    "get_logs": Route(SEE, **OF_JOB),
    "list_events": Route(SEE),
    "list_job_events": Route(SEE, **OF_JOB),
    "stream_events": Route(SEE),
    "stream_job_events": Route(SEE, **OF_JOB),
    "list_metrics": Route(SEE, **OF_JOB),
    "get_curves": Route(SEE, **OF_JOB),
    "list_samples": Route(SEE, **OF_JOB),
    "get_job_analytics": Route(SEE, **OF_JOB),
    "get_analytics_summary": Route(SEE),
    "compare_jobs": Route(SEE),
    "get_trends": Route(SEE),
    "list_checkpoints": Route(SEE, **OF_JOB),
    "list_artifacts": Route(SEE, **OF_JOB),
    "get_artifact_content": Route(SEE, by_id="artifact_id"),
    "download_model": Route(SEE, **OF_JOB),
    "download_checkpoint": Route(SEE, **OF_JOB),
    "download_logs": Route(SEE, **OF_JOB),
    "upload_dataset": Route(SUBMIT, upload=True),
    "fetch_dataset": Route(SUBMIT, body={"url": "http://127.0.0.1:1/rows.jsonl"}),
    "list_datasets": Route(SEE),
    "get_dataset": Route(SEE, by_id="dataset_id"),
    "delete_dataset": Route(SUBMIT, own=True, by_id="dataset_id"),
    "add_schedule": Route(SUBMIT, body={"spec": {"kind": "sft", "model": "a/b", "data": "a/c"}, "cron": "0 2 * * *"}),
    "list_schedules": Route(SEE),
    "get_schedule": Route(SEE, by_id="name"),
    "pause_schedule": Route(SUBMIT, own=True, by_id="name"),
    "resume_schedule": Route(SUBMIT, own=True, by_id="name"),
    "delete_schedule": Route(SUBMIT, own=True, by_id="name"),
    "save_template": Route(SUBMIT, own=True, body={"name": "recipe", "description": "ours", "spec": SCRIPT}),
    "list_templates": Route(SEE),
    "get_template": Route(SEE, by_id="name"),
    "list_template_versions": Route(SEE, by_id="name"),
    "delete_template": Route(SUBMIT, own=True, by_id="name"),
    "fill_template": Route(SEE, by_id="name", body={}),
    "submit_template": Route(SUBMIT, by_id="name", body={}),
    "get_job_template": Route(SEE, **OF_JOB),
    "create_channel": Route(SUBMIT, body={"name": "new", "kind": "webhook", "url": "http://127.0.0.1:1/"}),
    "list_channels": Route(SEE),
    "get_channel": Route(SEE, by_id="name"),
    "change_channel": Route(SUBMIT, own=True, by_id="name", body={"states": ["failed"]}),
    "rotate_channel_secret": Route(SUBMIT, own=True, by_id="name"),
    "test_channel": Route(SUBMIT, own=True, by_id="name"),
    "remove_channel": Route(SUBMIT, own=True, by_id="name"),
    "list_deliveries": Route(SEE, by_id="name"),
    "get_delivery": Route(SEE, by_id="delivery_id"),
    "resend_delivery": Route(SUBMIT, own=True, by_id="delivery_id"),
    "get_retention": Route(SEE),
    "get_last_cleanup": Route(OPERATE),
    "apply_retention": Route(OPERATE),
    "get_system": Route(SEE),
    "list_users": Route(SEE),
    "create_user": Route(MANAGE, body={"name": "newcomer"}),
    "get_user": Route(SEE, by_id="name"),
    "change_user": Route(MANAGE, by_id="name", body={"role": "viewer"}),
    "list_keys": Route(SEE),
    "create_key": Route(SEE, body={"name": "k"}),
    "revoke_key": Route(SEE, own=True, by_id="key_id"),
    "list_tenants": Route(OPERATE),
    "create_tenant": Route(OPERATE, body={"name": "third"}),
    "get_tenant": Route(OPERATE),
    "change_tenant": Route(OPERATE, body={}),
    "get_quotas": Route(SEE),
    "list_limits": Route(SEE),
    "set_quotas": Route(MANAGE, body={"of": "each user", "amounts": {"waiting": 7}}),
    "list_secrets": Route(SEE),
    "set_secret": Route(MANAGE, body={"value": "not for everybody"}),
    "remove_secret": Route(MANAGE, by_id="name"),
    "list_audit": Route(MANAGE),
    "export_audit": Route(MANAGE),
}
SOCKETS = {
    "/api/v1/ws": Route(SEE),
    "/api/v1/jobs/{job_id}/ws": Route(SEE, **OF_JOB),
    "/ws/training/{job_id}": Route(SEE, **OF_JOB),
}
LIKE = {
    "submit_job": Route(SUBMIT, body={"model_type": "sft", "config": {"model": "owner/model", "data": "owner/rows"}})
}
"""What the older paths are asked where it is not what their successors are."""
OTHERS = {"older_post_api_training_jobs_job_submit": Route(SUBMIT, **OF_JOB)}
ROUTES |= {row.name: OTHERS.get(row.name) or LIKE.get(row.successor) or ROUTES[row.successor] for row in older.TABLE}
MAY = {
    "viewer": {SEE},
    "reading key": {SEE, MEASURE},
    "member": {SEE, SUBMIT},
    "submitting key": {SEE, SUBMIT, MEASURE},
    "owner": {SEE, SUBMIT},
    "admin": {SEE, SUBMIT, MANAGE},
    "operator": {SEE, SUBMIT, MANAGE, OPERATE, MEASURE},
}
"""From the least to the most."""
OVER_OTHERS = {"admin", "operator"}
OF_TEMPLATE = ("get_template", "list_template_versions", "delete_template", "fill_template", "submit_template")
NAMES = {
    **dict.fromkeys(("get_channel", "change_channel", "rotate_channel_secret", "test_channel"), "alerts"),
    **dict.fromkeys(("remove_channel", "list_deliveries"), "alerts"),
    **dict.fromkeys(OF_TEMPLATE, "recipe"),
    "get_user": "max",
    "change_user": "mia",
    "get_tenant": "main",
    "change_tenant": "main",
    "set_secret": "TOKEN",
    "remove_secret": "TOKEN",
}
"""What is asked for by its name, where it is not the schedule."""
NEEDS_WHOLE_KEY = {"create_key": {"viewer", "admin", "operator"}}
"""What a key of narrow scope can't do, though anybody may."""


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """What a session of one tenant sees is tested on both databases; here are the routes."""
    return str(request.param)


@pytest.fixture
async def people(api: Any, yard: Yard) -> People:
    """Everything is max's, and made before there were accounts, as far as that goes."""
    job = await api.job(name="ours")
    other = await api.job(name="ended")
    async with yard.database.write() as session:
        ended = await jobs.get(session, other)
        assert ended is not None
        for cause in (Cause.PLACED, Cause.STARTED, Cause.COMPLETED):
            await jobs.apply_move(session, ended, cause, "engine", 1.0)
    dataset = (await api.upload("free.jsonl", b'{"text": "our own words"}\n')).json()["id"]
    spec = {"spec": SCRIPT, "cron": "0 2 * * *", "name": "nightly"}
    assert (await api.post("/api/v1/schedules", json=spec)).status_code == 201
    recipe = {"name": "recipe", "job_id": job}
    assert (await api.post("/api/v1/templates", json=recipe)).status_code == 201
    found = await settle(yard)
    found.ids = {"job_id": job, "ended": other, "dataset_id": dataset, "key_id": "owner", "step": "5"}
    secret = {"value": "not for everybody"}
    answer = await api.put("/api/v1/secrets/TOKEN", json=secret, headers=found.headers("admin"))
    assert answer.status_code == 200, answer.text
    found.ids["artifact_id"] = await leave_behind(yard, job)
    await leave_channel(yard)
    found.ids["delivery_id"] = "msgours"
    await yard_to_max(yard)
    return found


async def yard_to_max(yard: Yard) -> None:
    """What the local user made is max's from now on."""
    from sqlalchemy import text

    async with yard.database.write() as session:
        for table in ("jobs", "datasets", "schedules", "templates"):
            await session.execute(text(f"UPDATE {table} SET \"user\" = 'max'"))
        recipe = '{"id": "gone", "name": "recipe", "version": 1}'
        await session.execute(text("UPDATE jobs SET template = :recipe"), {"recipe": recipe})


def operations() -> dict[str, tuple[str, str]]:
    """Method and path of each operation of the OpenAPI document."""
    paths = app.ROUTES.openapi()["paths"]
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_the_table_has_every_route_and_every_feed() -> None:
    assert set(operations()) == set(ROUTES)
    assert set(sockets(app.ROUTES.routes, "")) == set(SOCKETS)


def sockets(routes: Any, prefix: str) -> list[str]:
    found = []
    for route in routes:
        if isinstance(route, APIWebSocketRoute):
            found.append(prefix + route.path)
        elif inner := getattr(route, "original_router", None) or getattr(route, "router", None):
            context = getattr(route, "include_context", None)
            found += sockets(inner.routes, prefix + (context.prefix if context else ""))
    return found


class Walk:
    """One operation, asked by one after the other."""

    def __init__(self, api: httpx.AsyncClient, people: People, name: str, method: str, path: str) -> None:
        self.api, self.people, self.name, self.route = api, people, name, ROUTES[name]
        self.method, self.path = method, path

    async def ask(self, who: str, ids: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status and text of the answer; of a stream its beginning."""
        known = {"name": NAMES.get(self.name, "nightly"), **self.people.ids, **(ids or {})}
        url = self.path.format(**known)
        headers = self.people.headers(who) | ({"Authorization": "Bearer ry_nonsense"} if who == "nonsense" else {})
        body: dict[str, Any] = {"json": dict(self.route.body)} if self.route.body is not None else {}
        if self.route.upload:
            body = {"files": {"file": (f"{who}.jsonl", b'{"text": "a row of mine"}\n')}}
        if self.name == "create_user":
            body["json"]["name"] = "newcomer-" + who.replace(" ", "-")
        async with self.api.stream(self.method, url, headers=headers, **body) as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return answer.status_code, ""
            return answer.status_code, (await answer.aread()).decode(errors="replace")


@pytest.mark.parametrize("name", ROUTES)
async def test_a_route_by_everybody(api: Any, yard: Yard, people: People, name: str) -> None:  # noqa: PLR0912 - the table's reading
    method, path = operations()[name]
    walk, route = Walk(api, people, name, method, path), ROUTES[name]
    api.cookies.clear()
    for who in STRANGERS:
        status, text = await walk.ask(who)
        if route.needs is None:
            assert status == (404 if route.gone else 200), (who, text)
        else:
            assert status == 401, (who, text)
            assert not any(id_ in text for id_ in people.ids.values() if len(id_) > 5)
        api.cookies.clear()
    if route.needs is None:
        return
    await strangers_of_another_tenant(walk, people)
    for who, acts in MAY.items():
        status, text = await walk.ask(who)
        is_allowed = route.needs in acts and who in NEEDS_WHOLE_KEY.get(name, MAY)
        if route.own and route.needs in acts and who not in OVER_OTHERS and who != "owner":
            is_allowed = False
        if is_allowed and name == "change_password":
            assert status == 401, "the old password was wrong"
        elif is_allowed:
            assert status not in (401, 403, 500), (who, status, text)
            assert status != 404 or who in OVER_OTHERS, (who, "somebody before may have deleted it", text)
        else:
            assert status in ((403, 404) if name == "revoke_key" else (403,)), (who, status, text)


async def strangers_of_another_tenant(walk: Walk, people: People) -> None:
    """For an admin of another tenant, what is ours answers exactly as what does not exist, and shows nowhere."""
    status, text = await walk.ask("foreign admin")
    if (what := walk.route.by_id) is None:
        assert not any(id_ in text for id_ in people.ids.values() if len(id_) > 5), text
        if walk.route.needs in (OPERATE, MEASURE):
            assert status == 403
        return
    asked = people.ids.get(what) or NAMES.get(walk.name, "nightly")
    unknown = UNKNOWN.get(what, "nobodyandnothing")
    other = await walk.ask("foreign admin", {what: unknown})
    assert (status, text.replace(asked, "ID")) == (other[0], other[1].replace(unknown, "ID"))
    assert status == 404, text


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_feed_by_everybody(api: Any, url: str, people: People, path: str) -> None:
    address = url.replace("http", "ws") + path.format(**people.ids)
    for who in (*STRANGERS, "foreign admin", *MAY):
        headers = people.headers(who) | ({"Authorization": "Bearer ry_nonsense"} if who == "nonsense" else {})
        try:
            async with connect(address + "?after=0", additional_headers=headers) as socket:
                status, first = 101, str(await socket.recv()) if who != "foreign admin" else ""
        except InvalidStatus as refused:
            status, first = refused.response.status_code, ""
        if who in STRANGERS:
            assert status == 401, who
        elif who == "foreign admin" and SOCKETS[path].by_id:
            assert status == 404
        else:
            assert status == 101, who
            assert who == "foreign admin" or people.ids["job_id"] in first or people.ids["ended"] in first


async def test_another_tenants_feed_stays_silent_about_ours(api: Any, url: str, people: People) -> None:
    address = url.replace("http", "ws") + "/api/v1/ws?after=0"
    theirs = await api.post(
        "/api/v1/jobs",
        json={"kind": "sft", "model": "a/b", "data": "a/c"},
        headers=people.headers("foreign admin"),
    )
    assert theirs.status_code == 201, theirs.text
    async with connect(address, additional_headers=people.headers("foreign admin")) as socket:
        assert theirs.json()["id"] in str(await socket.recv()), "the first that it hears of is its own"
    page = await api.get("/api/v1/events", headers=people.headers("foreign admin"))
    assert {event["job_id"] for event in page.json()["items"]} == {theirs.json()["id"]}


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/nothing", "/docs", "/api/v1/openapi.json", "/metrics", "//health", "/health/"]
)
async def test_nobody_learns_what_there_is(api: Any, people: People, path: str) -> None:
    """Whoever wants to see a page, be it there or not, is sent to sign in."""
    is_page = path in ("/", "/docs", "//health")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND"):
        answer = await api.request(method, path)
        if is_page and method in ("GET", "HEAD"):
            assert answer.status_code == 303, method
            assert answer.headers["location"].startswith("/sign-in"), method
        else:
            assert answer.status_code == 401, method


async def test_each_path_by_each_method_asks_who_it_is(api: Any, yard: Yard, people: People) -> None:
    known = {"name": "nightly", **people.ids}
    public = {("GET", "/health"), ("POST", "/api/v1/session"), ("POST", "/api/v1/setup")}
    for _, path in operations().values():
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"):
            if (method, path) not in public:
                answer = await api.request(method, path.format(**known))
                assert answer.status_code in (401, 429), (method, path)  # so many strange requests are too many


async def all_of(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


@pytest.mark.parametrize("kind", ["socket", "stream", "log"])
async def test_a_feed_ends_when_its_key_is_revoked(api: Any, url: str, people: People, kind: str) -> None:
    headers = people.headers("owner")
    job = people.ids["job_id"]

    async def revoke() -> None:
        answer = await api.delete("/api/v1/keys/owner", headers=people.headers("admin"))
        assert answer.status_code == 200, answer.text

    if kind == "socket":
        async with connect(url.replace("http", "ws") + "/api/v1/ws", additional_headers=headers) as socket:
            await revoke()
            with pytest.raises(ConnectionClosed) as closing:
                await all_of(socket)
            assert closing.value.rcvd is not None
            assert closing.value.rcvd.code == 1008
        return
    path = "/api/v1/stream" if kind == "stream" else f"/api/v1/jobs/{job}/logs?follow=true"
    async with api.stream("GET", path, headers=headers, timeout=20) as answer:
        assert answer.status_code == 200
        await revoke()
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()
    assert (await api.get(path, headers=headers)).status_code == 401
