"""Signing in with a password: sessions, cookies, and what tries to get around them."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from tests.integration.server.people import PASSWORD, People, settle
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from runyard.db.database import Session
from runyard.domain.access import Act, Caller
from runyard.server import cookies
from runyard.server.deps import Yard
from runyard.services import keys, passwords, sessions

SESSION = "/api/v1/session"


@pytest.fixture
async def people(api: Any, yard: Yard) -> People:
    return await settle(yard)


async def sign_in(api: Any, name: str = "max", password: str = PASSWORD) -> httpx.Response:
    answer: httpx.Response = await api.post(SESSION, json={"name": name, "password": password})
    return answer


async def test_a_session_shows_who_it_is_and_ends(api: Any, people: People) -> None:
    answer = await sign_in(api, " MAX ")
    assert answer.status_code == 200, answer.text
    assert {"user": "max", "tenant": "main", "role": "member", "operator": False, "via": "session"}.items() <= (
        answer.json().items()
    )
    token = api.cookies["runyard_session"]
    again = (await api.get(SESSION)).json()
    assert again["csrf_token"] == answer.json()["csrf_token"]
    left = await api.delete(SESSION, headers={cookies.CSRF_HEADER: again["csrf_token"]})
    assert left.status_code == 204
    assert "runyard_session" not in api.cookies
    assert (await api.get(SESSION)).status_code == 401
    assert (await api.get(SESSION, headers={"Cookie": f"runyard_session={token}"})).status_code == 401, "for good"


async def test_the_cookie_is_kept_from_scripts_and_other_sites(api: Any, people: People) -> None:
    [cookie] = [c for c in (await sign_in(api)).headers.get_list("set-cookie") if c.startswith("runyard_session=")]
    parts = {part.strip().lower() for part in cookie.split(";")}
    assert {"httponly", "samesite=lax", "path=/"} <= parts
    assert not any(part.startswith("domain") for part in parts)


async def test_over_https_the_cookie_never_travels_over_http(api: Any, yard: Yard, people: People) -> None:
    """As a browser keeps it: __Host- and Secure. Neither name is taken over the other way."""
    transport = httpx.ASGITransport(app=await built(yard))
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as safe:
        answer = await sign_in(safe)
        [cookie] = [c for c in answer.headers.get_list("set-cookie") if "runyard_session=" in c]
        assert cookie.startswith("__Host-runyard_session=")
        assert "secure" in cookie.lower()
        assert answer.headers["strict-transport-security"]
        token = safe.cookies["__Host-runyard_session"]
    for name in ("__Host-runyard_session", "runyard_session"):
        stolen = await api.get(SESSION, headers={"Cookie": f"{name}={token}"})
        assert stolen.status_code == (401 if name.startswith("__Host-") else 200)
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as safe:
        planted = await safe.get(SESSION, headers={"Cookie": f"runyard_session={token}"})
        assert planted.status_code == 401, "what an http page of the same name has set is not looked at"


async def built(yard: Yard) -> Any:
    from runyard.server import app

    return app.build(yard)


async def test_a_change_with_a_cookie_needs_the_word_that_only_our_pages_know(api: Any, people: People) -> None:
    word = (await sign_in(api)).json()["csrf_token"]
    other = sessions.csrf_token("another session")
    key = {"name": "k", "scope": "read"}
    for headers in ({}, {cookies.CSRF_HEADER: ""}, {cookies.CSRF_HEADER: other}, {cookies.CSRF_HEADER: word[:-1]}):
        refused = await api.post("/api/v1/keys", json=key, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    foreign = await api.post(
        "/api/v1/keys", json=key, headers={cookies.CSRF_HEADER: word, "Origin": "http://evil.example"}
    )
    assert foreign.status_code == 403
    assert (await api.get("/api/v1/keys")).json()["items"][0]["id"] == "owner", "nothing was made"
    assert (await api.post("/api/v1/keys", json=key, headers={cookies.CSRF_HEADER: word})).status_code == 201


async def test_a_session_that_was_planted_is_not_taken_over(api: Any, people: People) -> None:
    """Fixation: whoever knows the cookie from before knows nothing afterwards."""
    planted = "A" * 43
    api.cookies.set("runyard_session", planted)
    first = await sign_in(api)
    assert first.cookies["runyard_session"] != planted
    second = await sign_in(api)
    assert second.cookies["runyard_session"] != first.cookies["runyard_session"]
    assert (await api.get(SESSION, headers={"Cookie": f"runyard_session={planted}"})).status_code == 401


async def test_a_page_of_another_site_can_open_no_feed(api: Any, url: str, people: People) -> None:
    await sign_in(api)
    cookie = {"Cookie": f"runyard_session={api.cookies['runyard_session']}"}
    address = url.replace("http", "ws") + "/api/v1/ws"
    async with connect(address, additional_headers=cookie):
        pass
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address, additional_headers=cookie, origin="http://evil.example"):  # type: ignore[arg-type]
            pass
    assert refused.value.response.status_code == 403


async def test_wrong_ones_all_look_the_same(api: Any, people: People) -> None:
    answers = [await sign_in(api, "max", "wrong password"), await sign_in(api, "nobody", "wrong password")]
    answers += [await sign_in(api, "local", "wrong password"), await sign_in(api, "max' --", "x")]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


@pytest.fixture
def standing(yard: Yard) -> None:
    """No wait is over while the next request is on its way."""
    now = time.time()
    object.__setattr__(yard, "clock", lambda: now)


async def test_many_wrong_ones_have_to_wait_and_nobody_else_does(api: Any, standing: None, people: People) -> None:
    known = await sign_in(api)
    device = {"Cookie": f"runyard_device={known.cookies['runyard_device']}"}
    api.cookies.clear()
    statuses = [(await sign_in(api, "max", "wrong password")).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    waiting = await sign_in(api)
    assert (waiting.status_code, waiting.json()["code"]) == (429, "too_many_requests")
    assert int(waiting.headers["retry-after"]) >= 1
    assert (await sign_in(api, "mia")).status_code == 200, "another name"
    right = {"name": "max", "password": PASSWORD}
    api.cookies.clear()
    answer = await api.post(SESSION, json=right, headers=device)
    assert answer.status_code == 200, "from the browser that it always comes from"
    forged = {"Cookie": "runyard_device=" + known.cookies["runyard_device"].replace(".", ".0", 1)}
    assert (await api.post(SESSION, json=right, headers=forged)).status_code == 429
    theirs = {"Cookie": f"runyard_device={known.cookies['runyard_device']}"}
    for _ in range(7):
        api.cookies.clear()
        last = await api.post(SESSION, json={"name": "vera", "password": "wrong"}, headers=theirs)
    assert last.status_code == 429, "a browser known for one name is not known for another"


async def test_many_at_once_are_counted_too(api: Any, standing: None, people: People) -> None:
    answers = await asyncio.gather(*(sign_in(api, "max", "wrong password") for _ in range(12)))
    assert sorted(answer.status_code for answer in answers).count(401) <= 5


async def test_a_new_password_ends_all_other_sessions(api: Any, url: str, people: People) -> None:
    word = (await sign_in(api)).json()["csrf_token"]
    async with httpx.AsyncClient(base_url=url, timeout=60) as elsewhere:
        await sign_in(elsewhere)
        change = {"old": PASSWORD, "new": "another good one"}
        short = await api.post(
            f"{SESSION}/password", json={**change, "new": "short"}, headers={cookies.CSRF_HEADER: word}
        )
        assert (short.status_code, short.json()["problems"][0]["field"]) == (422, "password")
        done = await api.post(f"{SESSION}/password", json=change, headers={cookies.CSRF_HEADER: word})
        assert done.status_code == 204
        assert (await elsewhere.get(SESSION)).status_code == 401
        assert (await api.get(SESSION)).status_code == 200, "this one stays"
        assert (await sign_in(elsewhere)).status_code == 401
        assert (await sign_in(elsewhere, password="another good one")).status_code == 200


async def test_one_who_is_disabled_is_out_at_once(api: Any, people: People) -> None:
    await sign_in(api)
    admin = people.headers("admin")
    assert (await api.patch("/api/v1/users/max", json={"enabled": False}, headers=admin)).status_code == 200
    for headers in ({}, people.headers("owner")):
        assert (await api.get(SESSION, headers=headers)).status_code == 401
    assert (await sign_in(api)).status_code == 401
    assert (await api.patch("/api/v1/users/max", json={"enabled": True}, headers=admin)).status_code == 200
    assert (await api.get(SESSION, headers=people.headers("owner"))).status_code == 200


async def test_a_session_runs_out(api: Any, yard: Yard, people: People) -> None:
    await sign_in(api)
    assert (await api.get(SESSION)).status_code == 200
    yard.gate.clock = lambda: time.time() + sessions.LASTS_SECONDS + 1
    assert (await api.get(SESSION)).status_code == 401


async def test_sign_ins_and_refusals_are_in_the_log(api: Any, people: People) -> None:
    await sign_in(api, "max", "wrong password")
    await sign_in(api, "nobody here", "wrong password")
    await sign_in(api)
    api.cookies.clear()
    await api.get("/api/v1/jobs")
    await api.post("/api/v1/users", json={"name": "x"}, headers=people.headers("viewer"))
    log = (await api.get("/api/v1/audit", headers=people.headers("operator"))).json()["items"]
    found = [(entry["user"], entry["action"], entry["target"], entry["refused"]) for entry in log]
    assert found[:5] == [
        ("vera", "create_user", "/api/v1/users", "forbidden"),
        (None, "GET /api/v1/jobs", "/api/v1/jobs", "not_signed_in"),
        ("max", "sign_in", "max", None),
        (None, "sign_in", "nobody here", "not_signed_in"),
        (None, "sign_in", "max", "not_signed_in"),
    ]
    assert {entry["address"] for entry in log[:5]} == {"127.0.0.1"}
    own = (await api.get("/api/v1/audit", headers=people.headers("admin"))).json()["items"]
    assert [entry["target"] for entry in own if entry["refused"] == "not_signed_in"] == ["max"], "of the tenant alone"
    assert "wrong password" not in str(log)
    refused = await api.get("/api/v1/audit?refused=true&user=vera", headers=people.headers("admin"))
    assert len(refused.json()["items"]) == 1
    lines = (await api.get("/api/v1/audit/export", headers=people.headers("operator"))).text.splitlines()
    assert len(lines) == len(log) + 0


async def test_refusals_do_not_fill_the_disk(api: Any, people: People) -> None:
    for _ in range(60):
        await api.get("/api/v1/jobs")
    log = (await api.get("/api/v1/audit?limit=500", headers=people.headers("operator"))).json()["items"]
    assert 20 <= len([entry for entry in log if entry["refused"]]) <= 40


async def test_one_who_asks_too_much_is_told_when_to_come_back(api: Any, yard: Yard, people: People) -> None:
    yard.gate.requests_per_second = 0.01
    yard.gate.__post_init__()
    headers = people.headers("owner")
    answers = [await api.get(SESSION, headers=headers) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 60
    assert (await api.get(SESSION, headers=people.headers("member"))).status_code == 200, "each key for itself"


async def test_answers_tell_browsers_to_be_careful(api: Any, people: People) -> None:
    for path in (SESSION, "/health", "/nothing"):
        headers = (await api.get(path, headers=people.headers("owner"))).headers
        assert (
            "script-src" not in headers["content-security-policy"] or "unsafe" not in headers["content-security-policy"]
        )
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["cache-control"] == "no-store"
        assert not any(name.startswith("access-control-") for name in headers)


async def test_nobody_makes_another_more_than_they_are(api: Any, people: People) -> None:
    admin, operator = people.headers("admin"), people.headers("operator")
    for body in (
        {"name": "x", "operator": True},
        {"name": "x", "tenant": "other"},
        {"name": "x", "tenant": "nowhere"},
    ):
        assert (await api.post("/api/v1/users", json=body, headers=admin)).status_code == 403, body
    for change in ({"operator": False}, {"password": "a new password"}, {"enabled": False}, {"role": "viewer"}):
        assert (await api.patch("/api/v1/users/ada", json=change, headers=admin)).status_code == 403, change
    assert (await api.patch("/api/v1/users/max", json={"operator": True}, headers=admin)).status_code == 403
    assert (await api.patch("/api/v1/users/otto", json={"enabled": False}, headers=admin)).status_code == 404
    assert (await api.patch("/api/v1/users/otto", json={"role": "viewer"}, headers=operator)).status_code == 200
    local = await api.patch("/api/v1/users/local", json={"password": "a new password"}, headers=operator)
    assert local.status_code == 403, "nobody signs in as the one who needs no sign-in"
    assert "local" not in {user["name"] for user in (await api.get("/api/v1/users", headers=operator)).json()["items"]}
    gone = await api.patch("/api/v1/users/first", json={"enabled": False}, headers=operator)
    assert gone.status_code == 200, "there is another operator"
    last = await api.patch("/api/v1/users/ada", json={"operator": False}, headers=operator)
    assert (last.status_code, last.json()["code"]) == (409, "in_use"), "nobody could operate it any more"
    assert (await api.patch("/api/v1/users/ada", json={"enabled": False}, headers=operator)).status_code == 409


async def test_a_key_makes_no_key_that_may_more(api: Any, people: People) -> None:
    for who in ("reading key", "submitting key"):
        answer = await api.post("/api/v1/keys", json={"name": "k", "scope": "admin"}, headers=people.headers(who))
        assert answer.status_code == 403
    made = await api.post("/api/v1/keys", json={"name": "k", "scope": "read"}, headers=people.headers("operator"))
    text = made.json()["key"]
    headers = {"Authorization": f"Bearer {text}"}
    assert (await api.get("/api/v1/jobs", headers=headers)).status_code == 200
    assert (await api.post("/api/v1/tenants", json={"name": "t"}, headers=headers)).status_code == 403
    listed = await api.get("/api/v1/keys", headers=people.headers("operator"))
    assert text not in listed.text
    assert text[:11] in listed.text


async def test_passwords_are_kept_by_argon2id() -> None:
    kept = await passwords.hashed("a good password")
    assert kept.startswith("$argon2id$v=19$m=65536,")
    assert await passwords.matches(kept, "a good password")
    assert not await passwords.matches(kept, "a good passwore")
    assert not await passwords.matches(None, "a good password")
    assert not await passwords.matches("no hash at all", "a good password")


def test_every_act_has_a_word_on_who_may() -> None:
    from runyard.domain.access import WHO_MAY

    assert set(WHO_MAY) == set(Act)


async def test_what_was_found_out_while_a_key_was_revoked_is_not_remembered(
    api: Any, yard: Yard, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = keys.caller

    async def slowly(session: Session, text: str, now: float) -> Caller | None:
        found = await really(session, text, now)
        if text == people.keys["owner"]:
            monkeypatch.setattr(keys, "caller", really)
            revoked = await api.delete("/api/v1/keys/owner", headers=people.headers("admin"))
            assert revoked.status_code == 200
        return found

    monkeypatch.setattr(keys, "caller", slowly)
    await api.get(SESSION, headers=people.headers("owner"))
    assert (await api.get(SESSION, headers=people.headers("owner"))).status_code == 401


async def test_an_old_password_opens_nothing_once_another_is_set(
    api: Any, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = passwords.matches

    async def slowly(kept: str | None, given: str) -> bool:
        found = await really(kept, given)
        change = {"password": "another good one"}
        await api.patch("/api/v1/users/max", json=change, headers=people.headers("admin"))
        return found

    monkeypatch.setattr(passwords, "matches", slowly)
    assert (await sign_in(api)).status_code == 401
