"""The live feed: nothing is missed, nothing comes twice, and nobody waits for a slow client."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runyard.domain.lifecycle import Cause
from runyard.server import streams
from runyard.server.deps import Yard

SECONDS = 30


async def steps_by_socket(url: str, path: str) -> AsyncIterator[tuple[int, Any]]:
    """(cursor, step) of each metric event, until the server closes."""
    async with connect(url.replace("http", "ws") + path) as socket_:
        async for message in socket_:
            event = json.loads(message)
            if event["type"] == "metric":
                yield event["id"], event["data"]["step"]


async def events_by_sse(api: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[dict[str, str]]:
    """The fields of each server-sent event."""
    async with api.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield fields
                fields = {}


async def collect(wanted: int, url: str, path: str) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(SECONDS):
        async for _, step in steps_by_socket(url, path):
            found.append(step)
            if len(found) == wanted:
                break
    return found


@asynccontextmanager
async def silent_connection(url: str, path: str) -> AsyncIterator[None]:
    """Asks, and takes nothing of the answer."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield


async def read_until_cut_off(live: ClientConnection, seen: list[Any]) -> None:
    while True:
        seen.append(json.loads(await live.recv()))


async def test_every_client_gets_every_event_once_and_in_order_while_several_write(
    api: Any, engine: Any, url: str
) -> None:
    """The ring of the hub under test holds 50 rows: most clients have to read from the database as well."""
    jobs = [await api.job(name=str(number)) for number in range(3)]
    total = 400

    async def write(job_id: str) -> None:
        for start in range(0, total, 10):
            await engine.tell(job_id, range(start, start + 10))

    async def comes_and_goes(job_id: str) -> list[int]:
        found, cursor = [], 0
        while len(found) < total:
            async with asyncio.timeout(SECONDS):
                async for at, step in steps_by_socket(url, f"/api/v1/jobs/{job_id}/ws?after={cursor}"):
                    cursor = at
                    found.append(step)
                    if len(found) % 70 == 0 or len(found) == total:
                        break
        return found

    async def whole_yard() -> list[int]:
        return await collect(3 * total, url, "/api/v1/ws?after=0")

    *_, reconnecting, yard_steps, first, second = await asyncio.gather(
        *(write(job_id) for job_id in jobs),
        comes_and_goes(jobs[0]),
        whole_yard(),
        collect(total, url, f"/api/v1/jobs/{jobs[1]}/ws"),
        collect(total, url, f"/api/v1/jobs/{jobs[2]}/ws?after=0"),
    )
    assert reconnecting == first == second == list(range(total))
    assert sorted(yard_steps) == sorted([*range(total)] * 3)


async def test_a_client_that_stops_reading_holds_up_nobody_and_is_let_go(
    api: Any, engine: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STALLED_SECONDS", 5.0)
    job_id = await api.job()
    async with (
        asyncio.timeout(2 * SECONDS),
        silent_connection(url, f"/api/v1/jobs/{job_id}/stream"),
        connect(url.replace("http", "ws") + "/api/v1/ws?after=0", max_queue=1) as slow,
    ):
        slow.transport.pause_reading()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(collect(1000, url, f"/api/v1/jobs/{job_id}/ws"))
            for start in range(0, 1000, 50):
                await engine.tell(job_id, range(start, start + 50), padding="x" * 20_000)  # more than all buffers hold
        assert reading.result() == list(range(1000))
        await asyncio.sleep(6)  # what is tested is that time alone ends it
        slow.transport.resume_reading()
        seen: list[Any] = []
        with pytest.raises(ConnectionClosed):
            await read_until_cut_off(slow, seen)
    assert len(seen) < 1000
    first = [event["data"]["step"] for event in seen if event["type"] == "metric"]
    rest = await collect(1000 - len(first), url, f"/api/v1/ws?after={seen[-1]['id']}")
    assert first + rest == list(range(1000))


async def test_a_message_of_any_length_arrives_whole(api: Any, engine: Any, url: str) -> None:
    """Their lengths are written in three ways."""
    job_id = await api.job()
    lengths = [0, 1, 125, 126, 127, 65_000, *range(65_400, 65_560, 8), 200_000]
    texts = [f"é{'x' * length}" for length in lengths]
    for step, text in enumerate(texts):
        await engine.tell(job_id, [step], text=text)
    async with connect(url.replace("http", "ws") + f"/api/v1/jobs/{job_id}/ws") as live, asyncio.timeout(SECONDS):
        seen = [json.loads(await live.recv()) for _ in range(len(texts) + 1)]
    assert [event["data"]["text"] for event in seen if event["type"] == "metric"] == texts


async def test_a_browser_goes_on_from_its_last_event(api: Any, engine: Any) -> None:
    job_id = await api.job()
    await engine.tell(job_id, range(5))
    path = f"/api/v1/jobs/{job_id}/stream"
    seen: list[dict[str, str]] = []
    async for event in events_by_sse(api, path):
        seen.append(event)
        if len(seen) == 4:
            break
    assert seen[0].pop("retry", None) or seen[0]
    await engine.tell(job_id, range(5, 8))
    await engine.complete(job_id)
    rest = [event async for event in events_by_sse(api, path, **{"Last-Event-ID": seen[-1]["id"]})]
    events = [event for event in [*seen, *rest] if "data" in event]
    assert [json.loads(event["data"])["data"]["step"] for event in events if event["event"] == "metric"] == list(
        range(8)
    )
    ids = [int(event["id"]) for event in events[:-1]]
    assert ids == sorted(set(ids))
    assert all(json.loads(event["data"])["id"] == int(event["id"]) for event in events)
    assert events[-1]["event"] == "end"
    assert json.loads(events[-1]["data"])["data"] == {"state": "completed"}


async def test_the_stream_of_a_job_ends_with_it(api: Any, engine: Any, url: str) -> None:
    job_id = await api.job()
    address = url.replace("http", "ws") + f"/api/v1/jobs/{job_id}/ws"
    async with connect(address) as live:
        await engine.tell(job_id, [1])
        await engine.complete(job_id)
        async with asyncio.timeout(SECONDS):
            types = [json.loads(message)["type"] async for message in live]
        assert types == ["state", "metric", "state", "state", "state", "end"]
        assert live.close_code == 1000
    async with connect(address) as late, asyncio.timeout(SECONDS):
        assert [json.loads(message)["type"] async for message in late] == types


async def test_the_stream_of_a_retried_job_goes_on(api: Any, engine: Any, url: str) -> None:
    job_id = await api.job()
    await engine.move(job_id, Cause.PLACED, Cause.STARTED, Cause.FAILED, Cause.RETRY_ASKED)
    async with connect(url.replace("http", "ws") + f"/api/v1/jobs/{job_id}/ws") as live, asyncio.timeout(SECONDS):
        states = [json.loads(await live.recv())["data"]["after"] for _ in range(5)]
        assert states == ["queued", "starting", "running", "failed", "queued"]
        await engine.complete(job_id)
        assert json.loads([message async for message in live][-1])["data"] == {"state": "completed"}


async def test_where_a_stream_begins(api: Any, engine: Any, url: str) -> None:
    job_id = await api.job()
    await engine.tell(job_id, range(3))
    last = (await api.get("/api/v1/events")).json()["items"][-1]["id"]
    for after in ("latest", str(last), str(last + 1000)):
        async with connect(url.replace("http", "ws") + f"/api/v1/ws?after={after}") as live:
            await api.get("/health")
            await engine.tell(job_id, [7])
            async with asyncio.timeout(SECONDS):
                assert json.loads(await live.recv())["data"] == {"step": 7}, after


async def test_events_by_page(api: Any, engine: Any) -> None:
    job_id, other = await api.job(), await api.job()
    await engine.tell(job_id, range(5))
    await engine.tell(other, range(5))
    found, cursor = [], "0"
    while cursor is not None:
        page = (await api.get(f"/api/v1/jobs/{job_id}/events", params={"after": cursor, "limit": 2})).json()
        found += page["items"]
        cursor = page["next_cursor"]
    assert [event["data"].get("step") for event in found] == [None, 0, 1, 2, 3, 4]
    assert {event["job_id"] for event in found} == {job_id}


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/v1/jobs/unknown/ws", {}, 404),
        ("/api/v1/ws", {"Origin": "http://evil.example"}, 403),
        ("/api/v1/ws", {"Origin": "null"}, 403),
        ("/api/v1/nothing", {}, 403),
        ("/api/v1/ws?after=yesterday", {}, 403),
    ],
)
async def test_sockets_that_are_refused(url: str, path: str, headers: dict[str, str], status: int) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await connect(url.replace("http", "ws") + path, additional_headers=headers)
    await asyncio.sleep(0)  # the library drops the connection in the loop's next turn
    assert refusal.value.response.status_code == status


async def test_events_of_another_process_are_seen_without_a_notice(api: Any, yard: Yard, engine: Any, url: str) -> None:
    job_id = await api.job()
    async with connect(url.replace("http", "ws") + "/api/v1/ws") as live:
        await api.get("/health")
        object.__setattr__(yard.hub, "notify", lambda: None)
        await engine.tell(job_id, [1])
        async with asyncio.timeout(SECONDS):
            assert json.loads(await live.recv())["data"] == {"step": 1}
