"""The client against the real server: outages, uploads, and both clients alike."""

import asyncio
import inspect
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import runyard
from runyard.sdk.errors import ApiError, NoServerError

SECONDS = 60
ROWS = '{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n'


class Server:
    """`runyard serve`; a job that asks for a GPU waits for ever on a machine without one, so no training is needed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {**os.environ, "RUNYARD_HOME": str(self.home)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runyard.cli.main", "serve", "--port", str(self.port)],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        with runyard.Client(self.url) as client:
            while time.monotonic() < deadline:
                try:
                    assert client.health().status == "ok"
                    return
                except NoServerError:
                    time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "home")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def waiting_job(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    data = {"train": str(tmp_path / "rows.jsonl"), "eval": str(tmp_path / "rows.jsonl")}
    return {"kind": "sft", "name": "waiting", "model": "owner/model", "data": data, "resources": {"gpus": 1}}


def test_a_watch_outlives_the_server(server: Server, waiting_job: dict[str, Any]) -> None:
    """Two watchers, one of each client, see the same entries: all of them, each once."""
    with runyard.Client(server.url) as client:
        job = client.submit(waiting_job)
        seen: list[int] = []
        awaited: list[int] = []
        watchers = [
            Thread(target=lambda: seen.extend(event.id for event in client.watch(job.id))),
            Thread(target=lambda: asyncio.run(watch(server.url, job.id, awaited))),
        ]
        for watcher in watchers:
            watcher.start()
        for _ in range(2):
            client.pause(job.id)
            server.kill()
            server.start()
            client.resume(job.id)
        client.cancel(job.id)
        for watcher in watchers:
            watcher.join(SECONDS)
            assert not watcher.is_alive()
        every = [event.id for event in client.events(job.id).items]
    assert seen == every
    assert awaited == every
    assert len(every) >= 6


async def watch(url: str, job_id: str, seen: list[int]) -> None:
    async with runyard.AsyncClient(url) as client:
        async for event in client.watch(job_id):
            seen.append(event.id)


def test_a_watch_can_go_on_from_a_cursor(server: Server, waiting_job: dict[str, Any]) -> None:
    with runyard.Client(server.url) as client:
        job = client.submit(waiting_job)
        client.cancel(job.id)
        every = list(client.watch(job.id))
        assert every[-1].data["after"] == "cancelled"
        assert list(client.watch(job.id, after=every[0].id)) == every[1:]
        with pytest.raises(ApiError, match="there is no job"):
            next(client.watch("nothing"))


def test_a_watch_gives_up_in_the_end(server: Server, waiting_job: dict[str, Any]) -> None:
    with runyard.Client(server.url) as client:
        job = client.submit(waiting_job)
        watching = client.watch(job.id, patience=0.5)
        next(watching)
        server.kill()
        with pytest.raises(NoServerError, match="tried for"):
            list(watching)
        with pytest.raises(ConnectionError):
            client.health()


def test_submit_uploads_what_is_here_and_keeps_it_once(server: Server, waiting_job: dict[str, Any]) -> None:
    with runyard.Client(server.url) as client:
        job = client.submit(waiting_job, idempotency_key="one")
        [dataset] = client.datasets().items
        assert job.spec["data"] == {"train": f"dataset:{dataset.id}", "eval": f"dataset:{dataset.id}"}
        assert client.submit(waiting_job, idempotency_key="one").id == job.id
        assert client.submit(waiting_job).id != job.id
        assert [item.id for item in client.datasets().items] == [dataset.id]


async def test_the_async_client_does_the_same(server: Server, waiting_job: dict[str, Any], tmp_path: Path) -> None:
    async with runyard.AsyncClient(server.url) as client:
        dataset = await client.upload_dataset(tmp_path / "rows.jsonl", name="mine.jsonl")
        job = await client.submit({**waiting_job, "data": "dataset:mine.jsonl"})
        assert (await client.find_job("waiting")).id == job.id
        assert [item.id for item in (await client.jobs(state=["queued"])).items] == [job.id]
        assert (await client.dataset(dataset.id)).rows == 2
        assert (await client.cancel(job.id)).state == "cancelled"
        assert [line async for line in client.follow_logs(job.id)] == []
        with pytest.raises(ApiError) as refused:
            await client.pause(job.id)
        assert (refused.value.status, refused.value.code) == (409, "illegal_move")
        with pytest.raises(ApiError, match="no final model"):
            await client.download_model(job.id, tmp_path / "model")
        assert not any("model" in name for name in os.listdir(tmp_path))


def test_both_clients_offer_the_same() -> None:
    def offered(client: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(client, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in methods if name[0] != "_"}

    assert offered(runyard.Client) == offered(runyard.AsyncClient)
    assert "job_id" in offered(runyard.Client)["cancel"]
    assert all(inspect.getdoc(getattr(runyard.Client, name)) is not None for name in ("submit", "watch", "pause"))


def test_a_server_that_breaks_off_is_asked_again(server: Server) -> None:
    """A proxy that drops the first connection in the middle of the answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=flaky_proxy, args=(listener, server.port))
        thread.start()
        with runyard.Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            assert client.health().status == "ok"
        thread.join(SECONDS)


def flaky_proxy(listener: socket.socket, port: int) -> None:
    first, _ = listener.accept()
    first.recv(4096)
    first.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    first.close()
    second, _ = listener.accept()
    with second, socket.create_connection(("127.0.0.1", port)) as onward:
        onward.sendall(second.recv(4096).replace(b"keep-alive", b"close"))
        while piece := onward.recv(4096):
            second.sendall(piece)


def test_something_else_at_the_address(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=other_service, args=(listener,))
        thread.start()
        with (
            runyard.Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client,
            pytest.raises(ApiError) as caught,
        ):
            client.system()
        thread.join(SECONDS)
    assert caught.value.hint == "is this the address of a Runyard server, of this version?"


def other_service(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        body = json.dumps("hello").encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
