"""Channels through the API: what is kept, what is shown, and whose they are."""

from typing import Any

import pytest
from sqlalchemy import text
from tests.integration.server.people import People, settle

from runyard.db.queries import channels as queries
from runyard.server.deps import Yard
from runyard.services import channels, sealing
from runyard.services.outbound import Outbound

URL = "http://127.0.0.1:9/hooks/very-secret-token"
HOOK = {"name": "hook", "kind": "webhook", "url": URL}
SLACK = {"name": "team", "kind": "apprise", "url": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"}


@pytest.fixture(autouse=True)
def open_to_loopback(yard: Yard) -> None:
    object.__setattr__(yard.context, "outbound", Outbound(("127.0.0.0/8",)))


@pytest.fixture
async def people(yard: Yard) -> People:
    return await settle(yard)


async def test_a_webhook_is_made_and_its_secret_shown_once(api: Any, yard: Yard) -> None:
    answer = await api.post("/api/v1/channels", json=HOOK)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["shown"] == "http://127.0.0.1:9/…"
    assert made["states"] == ["completed", "failed", "stalled", "never_starts"]
    assert (await api.get("/api/v1/channels/hook")).json() == made
    assert (await api.get("/api/v1/channels")).json()["items"] == [made]
    async with yard.database.read() as session:
        [row] = (await session.execute(text("SELECT sealed FROM channels"))).all()
        everything = str((await session.execute(text("SELECT * FROM audit"))).all())
        channel = await queries.named(session, "main", "hook")
    assert b"very-secret" not in bytes(row[0])
    assert b"whsec" not in bytes(row[0])
    assert "create_channel" in everything
    assert "very-secret" not in everything
    assert channel is not None
    target = channels.target(channel, yard.context)
    assert (target.url, target.secrets(0)) == (URL, [secret])


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_what_is_sealed_opens_for_its_own_channel_alone(api: Any, yard: Yard) -> None:
    for name in ("a", "b"):
        await api.post("/api/v1/channels", json=HOOK | {"name": name})
    async with yard.database.write() as session:
        one, other = await queries.of_tenant(session, "main")
        one.sealed = other.sealed
        with pytest.raises(sealing.SealError):
            channels.target(one, yard.context)
    answer = await api.post("/api/v1/channels/a/rotate")
    assert answer.status_code == 409
    assert "secret.key" in answer.json()["hint"]


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("change", "field", "why"),
    [
        ({"url": "ftp://example.org/"}, "url", "http"),
        ({"url": "https://user:word@example.org/"}, "url", "password"),
        ({"url": "http://169.254.169.254/latest"}, "url", "not on the public network"),
        ({"url": "http://[::1]/"}, "url", "not on the public network"),
        ({"url": "http://10.0.0.1/"}, "url", "not on the public network"),
        ({"kind": "apprise", "url": "json://127.0.0.1/"}, "url", "can't be used here"),
        ({"kind": "apprise", "url": "syslog://"}, "url", "can't be used here"),
        ({"kind": "apprise", "url": "slack://nonsense"}, "url", "not in the form"),
        ({"kind": "apprise", "url": "gotifys://example.org/AsecretTOKEN123456?verify=no"}, "url", "verify"),
        ({"kind": "carrier pigeon"}, "kind", ""),
        ({"states": ["exploded"]}, "states.0", ""),
        ({"name": "no blanks here"}, "name", "letters"),
        ({"url": "\0"}, "url", "NUL"),
    ],
)
async def test_what_can_not_be_used_is_refused_with_its_reason(
    api: Any, change: dict[str, Any], field: str, why: str
) -> None:
    answer = await api.post("/api/v1/channels", json=HOOK | change)
    assert answer.status_code == 422, answer.text
    assert any(
        problem["field"].startswith(field) and why in problem["message"] for problem in answer.json()["problems"]
    )
    assert (await api.get("/api/v1/channels")).json()["items"] == []


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_channel_of_apprise_is_shown_as_its_service(api: Any) -> None:
    answer = await api.post("/api/v1/channels", json=SLACK | {"states": ["needs_you"]})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["shown"], made["secret"]) == ("Slack", None)
    assert made["states"] == ["failed", "stalled", "never_starts"]
    assert "A1BRTD4JD" not in answer.text
    assert (await api.post("/api/v1/channels/team/rotate")).status_code == 422
    assert (await api.post("/api/v1/channels", json=SLACK)).status_code == 409


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_it_is_changed_switched_and_given_a_new_secret(api: Any, yard: Yard) -> None:
    first = (await api.post("/api/v1/channels", json=HOOK)).json()["secret"]
    changed = await api.patch("/api/v1/channels/hook", json={"states": [], "url": "http://127.0.0.1:8/other"})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["states"], changed.json()["shown"]) == ([], "http://127.0.0.1:8/…")
    second = (await api.post("/api/v1/channels/hook/rotate")).json()["secret"]
    third = (await api.post("/api/v1/channels/hook/rotate")).json()["secret"]
    async with yard.database.read() as session:
        channel = await queries.named(session, "main", "hook")
        assert channel is not None
        target = channels.target(channel, yard.context)
    assert target.url == "http://127.0.0.1:8/other"
    assert target.secrets(yard.clock()) == [third, second]
    assert target.secrets(yard.clock() + channels.OVERLAP_SECONDS + 1) == [third]
    assert len({first, second, third}) == 3
    off = await api.patch("/api/v1/channels/hook", json={"enabled": False})
    assert off.json()["enabled"] is False
    refused = await api.post("/api/v1/channels/hook/test")
    assert refused.status_code == 409
    assert "--enable" in refused.json()["hint"]
    assert (await api.patch("/api/v1/channels/hook", json={"url": "http://10.0.0.1/"})).status_code == 422


async def test_a_test_is_written_down_and_can_be_sent_again(api: Any) -> None:
    await api.post("/api/v1/channels", json=HOOK)
    for _ in range(3):
        answer = await api.post("/api/v1/channels/hook/test")
        assert answer.status_code == 202, answer.text
        assert (answer.json()["type"], answer.json()["status"]) == ("channel.test", "pending")
    page = (await api.get("/api/v1/channels/hook/deliveries", params={"limit": 2})).json()
    assert len(page["items"]) == 2
    cursor = {"limit": 2, "cursor": page["next_cursor"]}
    rest = (await api.get("/api/v1/channels/hook/deliveries", params=cursor)).json()
    assert len({item["id"] for item in page["items"] + rest["items"]}) == 3
    one = page["items"][0]
    assert (await api.get(f"/api/v1/deliveries/{one['id']}")).json() == one
    again = await api.post(f"/api/v1/deliveries/{one['id']}/resend")
    assert (again.status_code, again.json()["id"]) == (202, one["id"])
    assert (await api.delete("/api/v1/channels/hook")).status_code == 204
    assert (await api.get(f"/api/v1/deliveries/{one['id']}")).status_code == 404


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_the_tenants_are_for_admins_and_ones_own_for_oneself(api: Any, people: People) -> None:
    async def add(who: str, **more: Any) -> int:
        answer = await api.post("/api/v1/channels", json=HOOK | more, headers=people.headers(who))
        return int(answer.status_code)

    async def change(who: str, name: str) -> int:
        body = {"states": ["failed"]}
        answer = await api.patch(f"/api/v1/channels/{name}", json=body, headers=people.headers(who))
        return int(answer.status_code)

    assert await add("member", name="all", of="tenant") == 403
    assert await add("admin", name="all", of="tenant") == 201
    assert await add("member", name="mine") == 201
    assert await add("viewer", name="never") == 403
    assert (await change("member", "all"), await change("admin", "all")) == (403, 200)
    assert (await change("owner", "mine"), await change("member", "mine"), await change("admin", "mine")) == (
        403,
        200,
        200,
    )
    assert (await change("foreign admin", "all"), await change("foreign admin", "mine")) == (404, 404)
    assert await add("foreign admin", name="all", of="tenant") == 201, "names are each tenant's own"


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_job_names_channels_that_may_tell_of_it(api: Any, people: People) -> None:
    mine, others = people.headers("owner"), people.headers("member")
    assert (await api.post("/api/v1/channels", json=HOOK | {"name": "own"}, headers=mine)).status_code == 201
    assert (await api.post("/api/v1/channels", json=HOOK | {"name": "of-mia"}, headers=others)).status_code == 201
    job = {"kind": "sft", "model": "owner/model", "data": "owner/rows"}
    wish = {"notify": {"channels": ["own", "of-mia", "none"]}}
    refused = await api.post("/api/v1/jobs", json=job | wish, headers=mine)
    assert refused.status_code == 422
    assert [problem["field"] for problem in refused.json()["problems"]] == ["notify.channels.1", "notify.channels.2"]
    taken = await api.post("/api/v1/jobs", json=job | {"notify": {"channels": ["own"]}}, headers=mine)
    assert taken.status_code == 201, taken.text
    assert taken.json()["spec"]["notify"] == {"channels": ["own"]}
