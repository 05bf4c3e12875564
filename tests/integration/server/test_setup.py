"""The first account by the link that the server prints: once, for an hour, for one."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.server.people import PASSWORD
from tests.integration.server.test_serve import serving

from runyard.db.queries import users
from runyard.domain.throttle import Failures
from runyard.server import setting_up
from runyard.server.deps import Yard
from runyard.server.setting_up import LASTS_SECONDS, SettingUp

SETUP = "/api/v1/setup"


@pytest.fixture
def word(yard: Yard) -> str:
    """Of a server that others can reach, and that has no account."""
    word = setting_up.new_word()
    object.__setattr__(yard, "setting_up", SettingUp.begin(word, time.time()))
    yard.gate.always = True
    yard.gate.forget()
    return word


def asked(word: str, name: str = "ada") -> dict[str, str]:
    return {"token": word, "name": name, "password": PASSWORD}


async def test_the_first_account_operates_and_is_signed_in_and_the_link_is_dead(
    api: Any, yard: Yard, word: str
) -> None:
    assert (await api.get("/api/v1/jobs")).status_code == 401
    answer = await api.post(SETUP, json=asked(word))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["user"], made["role"], made["operator"], made["via"]) == ("ada", "admin", True, "session")
    session = (await api.get("/api/v1/session")).json()
    assert session["csrf_token"] == made["csrf_token"]
    created = await api.post("/api/v1/users", json={"name": "ben"}, headers={"X-CSRF-Token": made["csrf_token"]})
    assert created.status_code == 201, created.text
    entries = (await api.get("/api/v1/audit")).json()["items"]
    assert {"sign_in", "set_up"} <= {entry["action"] for entry in entries}
    assert word not in str(entries)
    api.cookies.clear()
    for again in (asked(word, "eve"), asked("guessed", "eve")):
        gone = await api.post(SETUP, json=again)
        assert gone.status_code == 404, gone.text
    assert (await api.post("/api/v1/session", json={"name": "ada", "password": PASSWORD})).status_code == 200


async def test_two_at_once_make_one_account(api: Any, yard: Yard, word: str) -> None:
    answers = await asyncio.gather(*(api.post(SETUP, json=asked(word, f"user{number}")) for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 404, 404, 404]
    await the_only_one(yard)


async def test_two_servers_on_one_database_make_one_account(api: Any, yard: Yard, word: str) -> None:
    """Each has a link of its own, and knows nothing of the other's."""

    async def at_another(name: str) -> int:
        object.__setattr__(yard, "setting_up", SettingUp.begin(word, time.time()))
        return int((await api.post(SETUP, json=asked(word, name))).status_code)

    assert sorted(await asyncio.gather(at_another("ada"), at_another("ben"))) == [201, 404]
    await the_only_one(yard)


async def the_only_one(yard: Yard) -> None:
    async with yard.database.read() as session:
        assert len([user for user in await users.all_(session) if user.name != "local"]) == 1


async def test_wrong_words_wait_and_late_ones_are_wrong(api: Any, yard: Yard, word: str) -> None:
    assert yard.setting_up is not None
    now = time.time()
    object.__setattr__(yard, "clock", lambda: now)
    statuses = [(await api.post(SETUP, json=asked(f"guess {number}"))).status_code for number in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    yard.gate.failures = Failures()
    yard.setting_up.began_at = now - LASTS_SECONDS - 1
    late = await api.post(SETUP, json=asked(word))
    assert late.status_code == 401
    assert "--setup" in late.json()["hint"]
    yard.setting_up.began_at = now
    assert (await api.post(SETUP, json=asked(word))).status_code == 201


async def test_what_can_not_be_an_account_leaves_the_link_good(api: Any, word: str) -> None:
    for wrong in ({"name": "no name at all!"}, {"password": "short"}, {"name": "local"}):
        answer = await api.post(SETUP, json=asked(word) | wrong)
        assert answer.status_code in (409, 422), (wrong, answer.text)
    assert (await api.post(SETUP, json=asked(word))).status_code == 201


async def test_without_a_link_there_is_nothing(api: Any) -> None:
    assert (await api.post(SETUP, json=asked("anything"))).status_code == 404


def test_a_server_that_others_reach_starts_with_a_link(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(home, "--host", "0.0.0.0", "--setup") as (process, url):
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        found = re.search(r"http://([\w.-]+:\d+)/setup#([\w-]{43})", "".join(lines))
        assert found is not None, lines
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/api/v1/jobs").status_code == 401
            assert client.post("/api/v1/session", json={"name": "a", "password": "b"}).status_code == 401
            answer = client.post(SETUP, json=asked(found[2]), headers={"Host": found[1]})
            assert answer.status_code == 201, answer.text
            assert client.get("/api/v1/jobs").status_code == 200
        kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
        assert found[2].encode() not in kept, "it is on no disk"
    with serving(home, "--host", "0.0.0.0", "--setup") as (process, url):
        assert process.stdout is not None
        assert "in the open" in process.stdout.readline()
        process.terminate()
        assert "setup" not in process.stdout.read()
