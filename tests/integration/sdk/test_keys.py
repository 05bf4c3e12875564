"""Whom a key is sent to, and whom not: against the real server, and against servers that would like to have it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

import runyard
from runyard import datafolder
from runyard.schemas.jobs import EventRead
from runyard.sdk.credentials import Bearer
from runyard.sdk.errors import ApiError, ClientError
from runyard.settings import Settings
from runyard.testing.live import LiveYard

PASSWORD = "correct horse battery"
SECONDS = 60
JOB = {"kind": "script", "name": "waiting", "command": ["true"], "resources": {"gpus": 1}}
pytestmark = pytest.mark.xdist_group("keys")


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveYard]:
    """A server with one account: anna, admin and operator."""
    home = tmp_path_factory.mktemp("yard") / "home"
    datafolder.create_user(Settings(home=home), {"name": "anna", "password": PASSWORD})
    with LiveYard(home, {"RUNYARD_DATABASE_URL": ""}) as yard:
        yield yard


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of our own, and nothing in the environment."""
    for name in ("RUNYARD_KEY", "RUNYARD_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "runyard" / "credentials.json"


@pytest.fixture
def make_key(yard: LiveYard) -> Callable[..., str]:
    def make(**options: Any) -> str:
        with runyard.Client(yard.url) as client:
            return client.log_in("anna", PASSWORD, key_name="test", **options).key

    return make


@dataclass
class Stranger:
    """A server that remembers what it is sent, and sends everybody on."""

    to: str | None = None
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> "Stranger":
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stranger.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.send_response(307 if stranger.to else 404)
                if stranger.to:
                    self.send_header("Location", stranger.to + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(SECONDS)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self._server.server_port}"


def user_of(client: runyard.Client) -> str:
    with client:
        return client.whoami().user


def keep(config: Path, **keys: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({url: {"key": key, "user": "anna"} for url, key in keys.items()}))


def test_a_key_is_found_in_three_places(
    yard: LiveYard, make_key: Callable[..., str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ApiError) as refused:
        user_of(runyard.Client(yard.url))
    assert refused.value.status == 401
    keep(config, **{yard.url: make_key()})
    assert user_of(runyard.Client(yard.url)) == "anna"
    assert user_of(runyard.Client(f"{yard.url.upper().replace('HTTP', 'http')}/")) == "anna"
    monkeypatch.setenv("RUNYARD_KEY", "ry_wrong")
    with pytest.raises(ApiError, match="not known"):
        user_of(runyard.Client(yard.url))
    assert user_of(runyard.Client(yard.url, key=make_key())) == "anna"
    with pytest.raises(ApiError, match="who you are"):
        user_of(runyard.Client(yard.url, key=""))
    monkeypatch.setenv("RUNYARD_KEY", f" {make_key()}\n")
    monkeypatch.setenv("RUNYARD_URL", yard.url)
    assert user_of(runyard.Client()) == "anna"


async def test_the_async_client_finds_it_too(yard: LiveYard, make_key: Callable[..., str], config: Path) -> None:
    keep(config, **{yard.url: make_key(scope="read")})
    async with runyard.AsyncClient(yard.url) as client:
        assert (await client.whoami()).scope == "read"
        with pytest.raises(ApiError, match="may make no other"):
            await client.create_key("another")


def test_a_key_of_the_environment_is_for_its_server_alone(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    with Stranger() as mine, Stranger() as other:
        monkeypatch.setenv("RUNYARD_KEY", "ry_secret")
        monkeypatch.setenv("RUNYARD_URL", mine.url())
        keep(config, **{mine.url("localhost"): "ry_kept"})
        for url in (None, other.url(), mine.url("localhost")):
            with pytest.raises(ApiError), runyard.Client(url) as client:
                client.whoami()
        assert [headers.get("authorization") for _, headers in mine.seen] == ["Bearer ry_secret", "Bearer ry_kept"]
        assert [headers.get("authorization") for _, headers in other.seen] == [None]


def test_a_key_does_not_follow_where_a_server_sends_on() -> None:
    with Stranger() as thief, Stranger(thief.url("localhost")) as server:
        with runyard.Client(server.url(), key="ry_secret") as client:
            with pytest.raises(ApiError) as sent_on:
                client.whoami()
            with pytest.raises(ApiError):
                next(client.watch("a1"))
            with pytest.raises(ApiError):
                client.log_in("anna", PASSWORD, key_name="test")
        assert sent_on.value.status == 307
        assert thief.url("localhost") in str(sent_on.value.hint)
        assert thief.seen == []
        assert [headers.get("authorization") for _, headers in server.seen] == ["Bearer ry_secret"] * 2 + [None]
        assert not any("ry_secret" in path for path, _ in server.seen)
        # Nor would it, if somebody had it follow.
        with httpx.Client(auth=Bearer("ry_secret", server.url()), follow_redirects=True) as follower:
            follower.get(server.url())
            follower.get(thief.url())
        assert len(thief.seen) == 2
        assert not any("authorization" in headers for _, headers in thief.seen)


def watch(url: str, key: str, seen: list[EventRead]) -> None:
    """Until the server asks who it is."""
    with runyard.Client(url, key=key) as client, pytest.raises(ApiError) as ended:
        seen.extend(client.watch())
    assert ended.value.status == 401


async def watch_async(url: str, key: str, seen: list[EventRead]) -> None:
    async def take_all(client: runyard.AsyncClient) -> None:
        async for event in client.watch():
            seen.append(event)

    async with runyard.AsyncClient(url, key=key) as client:
        with pytest.raises(ApiError) as ended:
            await take_all(client)
    assert ended.value.status == 401


def test_feeds_are_opened_with_it_and_end_with_it(yard: LiveYard, make_key: Callable[..., str]) -> None:
    """A watcher of each client; then their key is revoked."""
    with runyard.Client(yard.url) as client:
        made = client.log_in("anna", PASSWORD, key_name="watch", scope="read")
    blocking, awaited = list[EventRead](), list[EventRead]()
    with ThreadPoolExecutor(2) as threads, runyard.Client(yard.url, key=make_key()) as client:
        ends = [
            threads.submit(watch, yard.url, made.key, blocking),
            threads.submit(asyncio.run, watch_async(yard.url, made.key, awaited)),
        ]
        job = client.submit(JOB)
        yard.wait_for(lambda: bool(blocking and awaited), "both to see the job")
        client.cancel(job.id)
        client.revoke_key(made.id)
        for end in ends:
            end.result(SECONDS)


def test_signing_in_leaves_a_key_and_no_session(yard: LiveYard) -> None:
    """The key that a client has has no part in it: it may be somebody else's."""
    with runyard.Client(yard.url, key="ry_wrong") as client:
        made = client.log_in("anna", PASSWORD, key_name="test", scope="admin", days=None)
        assert made.expires_at is None
        with pytest.raises(ApiError, match="not known"):
            client.whoami()
    with runyard.Client(yard.url, key="") as client:
        client.log_in("anna", PASSWORD, key_name="test")
        with pytest.raises(ApiError, match="who you are"):
            client.whoami()
    with runyard.Client(yard.url, key=made.key) as client:
        done = [entry.action for entry in client.audit(user="anna", limit=6).items]
    assert done == ["sign_out", "create_key", "sign_in"] * 2


@pytest.mark.parametrize("key", ["ry_a b", "ry_a\nX-Evil: 1", "ry_ä"])
def test_what_can_not_be_a_key_is_not_shown(key: str) -> None:
    with pytest.raises(ClientError) as refused:
        runyard.Client("http://127.0.0.1:9", key=key)
    assert "ry_" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://ry_secret@yard", "http://anna:ry_secret@yard:8000"])
def test_an_address_holds_no_key(url: str) -> None:
    with pytest.raises(ClientError) as refused:
        runyard.Client(url)
    assert "ry_secret" not in f"{refused.value}{refused.value.hint}"


@pytest.mark.parametrize("url", ["yard:8000", "ftp://yard", "http://", "http://[::1", "http://yard:port"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ClientError, match="no address"):
        runyard.Client(url)


def test_a_program_needs_no_home(tmp_path: Path, yard: LiveYard) -> None:
    """As in a container, under a user that is in no list."""
    code = "import runyard, sys; print(runyard.Client(sys.argv[1]).health().status)"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "nowhere")}
    found = subprocess.run(
        [sys.executable, "-c", code, yard.url], env=environment, capture_output=True, text=True, check=False
    )
    assert (found.stdout, found.stderr) == ("ok\n", "")
