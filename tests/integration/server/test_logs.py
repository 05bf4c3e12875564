"""Logs as they are read: the end, a part, and all of it while it is written."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from runyard.domain.lifecycle import Cause
from runyard.server.api import logs
from runyard.server.deps import Yard

pytestmark = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture
async def job_id(api: Any) -> str:
    return str(await api.job())


@pytest.fixture
def log(yard: Yard, job_id: str) -> Any:
    def append(text: str | bytes, stream: str = "stdout", attempt: int = 1) -> Path:
        file = yard.context.rundir(job_id).attempt(attempt) / f"{stream}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.write(text.encode() if isinstance(text, str) else text)
        return file

    return append


@pytest.fixture
def read(api: Any, job_id: str) -> Any:
    async def lines(**query: Any) -> Any:
        answer = await api.get(f"/api/v1/jobs/{job_id}/logs", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return lines


async def test_a_job_that_has_not_started_has_no_lines(read: Any) -> None:
    nowhere = {"stdout": 0, "stderr": 0}
    assert await read() == {"lines": [], "next_offset": None, "next_offsets": nowhere, "ended": False}


async def test_the_last_lines_of_each_stream_over_all_attempts(read: Any, log: Any) -> None:
    log("a1\na2\n")
    log("e1\n", "stderr")
    log("b1\nb2\nb3\n", attempt=2)
    assert (await read(tail=4))["lines"] == ["a2", "e1", "b1", "b2", "b3"]
    assert (await read(tail=2, stream="stdout"))["lines"] == ["b2", "b3"]
    assert (await read(tail=0))["lines"] == []
    assert (await read(stream="stderr"))["lines"] == ["e1"]


async def test_reading_on_from_an_offset_gives_everything_once(read: Any, log: Any, engine: Any, job_id: str) -> None:
    log("one\ntwo\nthr")
    first = await read(stream="stdout", offset=0)
    assert (first["lines"], first["ended"]) == (["one", "two"], False), "half a line is left for later"
    log("ee\n")
    log("four\nfi", attempt=2)
    second = await read(stream="stdout", offset=first["next_offset"])
    third = await read(stream="stdout", offset=second["next_offset"])
    await engine.complete(job_id)
    fourth = await read(stream="stdout", offset=third["next_offset"])
    assert [*second["lines"], *third["lines"], *fourth["lines"]] == ["three", "four", "fi"]
    assert fourth["ended"]
    assert (await read(stream="stdout", offset=fourth["next_offset"] + 1000))["lines"] == []


async def test_each_stream_goes_on_from_where_both_were_read_to(read: Any, log: Any) -> None:
    log("skipped\none\nhal")
    log("wrong\n", "stderr")
    both = await read(tail=2)
    assert both["lines"] == ["one", "wrong"]
    log("f\n")
    log("and\n", attempt=2)
    log("worse\n", "stderr", attempt=2)
    places = both["next_offsets"]
    output = await read(stream="stdout", offset=places["stdout"])
    rest = await read(stream="stdout", offset=output["next_offset"])
    assert [*output["lines"], *rest["lines"]] == ["half", "and"]
    assert (await read(stream="stderr", offset=places["stderr"]))["lines"] == ["worse"]


async def test_an_offset_needs_one_stream(api: Any, job_id: str) -> None:
    answer = await api.get(f"/api/v1/jobs/{job_id}/logs?offset=0")
    assert (answer.status_code, answer.json()["problems"][0]["field"]) == (422, "offset")


async def test_what_a_terminal_shows_of_odd_bytes(read: Any, log: Any) -> None:
    log(b"caf\xe9\n\xff\xfe\nwindows\r\n 10%\r 50%\r100%\nzero\0byte\n")
    assert (await read())["lines"] == ["caf\ufffd", "\ufffd\ufffd", "windows", "100%", "zero\0byte"]


async def test_a_huge_log_with_a_huge_line(read: Any, log: Any) -> None:
    log(b"x" * 12_000_000 + b"\n" + b"y\n" * 1_000_000)
    assert (await read(tail=3))["lines"] == ["y"] * 3
    offset, size = 0, 0
    while True:
        page = await read(stream="stdout", offset=offset)
        if not page["lines"]:
            break
        assert len(page["lines"]) <= 1 << 20
        size += sum(map(len, page["lines"]))
        offset = page["next_offset"]
    assert size == 13_000_000


async def test_following_gives_every_line_and_ends_with_the_job(api: Any, log: Any, engine: Any, job_id: str) -> None:
    log("old\nbefore\n")
    lines: list[str] = []
    async with asyncio.timeout(30), api.stream("GET", f"/api/v1/jobs/{job_id}/logs?follow=true&tail=1") as answer:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        async for line in answer.aiter_lines():
            lines.append(line)
            match line:
                case "before":
                    log("half ")
                    log("error\n", "stderr")
                case "error":
                    log("a line\n")
                case "half a line":
                    log("second attempt\n", attempt=2)
                case "second attempt":
                    log("last words", attempt=2)
                    await engine.complete(job_id)
    assert lines == ["before", "error", "half a line", "second attempt", "last words"]


async def test_many_followers_each_get_a_large_log_whole(api: Any, log: Any, engine: Any, job_id: str) -> None:
    await engine.move(job_id, Cause.PLACED, Cause.STARTED)

    async def follow() -> int:
        async with api.stream("GET", f"/api/v1/jobs/{job_id}/logs?follow=true&tail=100000") as answer:
            return sum([len(part) async for part in answer.aiter_bytes()])

    async with asyncio.timeout(60):
        following = [asyncio.create_task(follow()) for _ in range(5)]
        for start in range(0, 20_000, 1000):
            log("".join(f"line {number}\n" for number in range(start, start + 1000)))
            await asyncio.sleep(0)
        await engine.move(job_id, Cause.COMPLETED)
        size = len("".join(f"line {number}\n" for number in range(20_000)))
        assert await asyncio.gather(*following) == [size] * 5


async def test_a_log_cut_by_a_stopping_server_is_not_taken_for_complete(
    api: Any, yard: Yard, log: Any, job_id: str
) -> None:
    log("one\n")

    async def follow() -> None:
        async with asyncio.timeout(30), api.stream("GET", f"/api/v1/jobs/{job_id}/logs?follow=true") as answer:
            async for _ in answer.aiter_lines():
                yard.hub.close()

    with pytest.raises(httpx.RemoteProtocolError):
        await follow()


def following() -> list[asyncio.Task[Any]]:
    """What the server does for those who follow a log."""
    return [task for task in asyncio.all_tasks() if "TextStream._send_all" in repr(task.get_coro())]


async def test_a_follower_that_leaves_is_forgotten(
    api: Any, log: Any, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(logs, "STATE_SECONDS", 0.0)
    original = logs._ended

    async def watched(yard: Yard, asked_id: str) -> bool:
        asked.append(asked_id)
        return await original(yard, asked_id)

    monkeypatch.setattr(logs, "_ended", watched)
    log("one\n")
    async with api.stream("GET", f"/api/v1/jobs/{job_id}/logs?follow=true") as answer:
        async for _ in answer.aiter_lines():
            break
        assert following()
    async with asyncio.timeout(30):
        while following():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    seen = len(asked)
    await asyncio.sleep(0.5)
    assert len(asked) == seen
