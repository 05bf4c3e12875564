"""The client for asyncio.

What can be asked is described in `calls`, `submission`, `download` and `find`; here is only how it is sent.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from runyard.schemas.jobs import EventRead
from runyard.sdk import calls, download, find, scheduling, submission
from runyard.sdk.connection import (
    CLOSED,
    FEED_TIMEOUT,
    PATIENCE,
    Connection,
    Repeats,
    as_method,
    cause_of,
)
from runyard.sdk.errors import ApiError, ClientError
from runyard.sdk.feed import Feed
from runyard.sdk.tail import Tail

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
Step = calls.Call[Any] | calls.Work[Any]


def _awaited(
    describe: Callable[Asked, calls.Conversation[Answer]],
) -> Callable[Concatenate["AsyncClient", Asked], Awaitable[Answer]]:
    async def method(client: "AsyncClient", /, *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return await client._talk(describe(*args, **kwargs))

    as_method(method, describe)
    return method


class AsyncClient:
    """Client for asyncio, with the same methods: `await` them, and `async for` over watch() and follow_logs()."""

    def __init__(self, url: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._connection = Connection(url)
        self.url = self._connection.url
        self._http = httpx.AsyncClient(transport=transport, **self._connection.options)

    health = _awaited(calls.health)
    system = _awaited(calls.system)
    submit = _awaited(submission.submit)
    job = _awaited(calls.job)
    find_job = _awaited(find.find_job)
    jobs = _awaited(calls.jobs)
    cancel = _awaited(calls.cancel)
    pause = _awaited(calls.pause)
    resume = _awaited(calls.resume)
    retry = _awaited(calls.retry)
    logs = _awaited(calls.logs)
    metrics = _awaited(calls.metrics)
    events = _awaited(calls.events)
    checkpoints = _awaited(calls.checkpoints)
    artifacts = _awaited(calls.artifacts)
    download_model = _awaited(download.download_model)
    download_checkpoint = _awaited(download.download_checkpoint)
    download_logs = _awaited(download.download_logs)
    download_artifact = _awaited(download.download_artifact)
    upload_dataset = _awaited(submission.upload)
    datasets = _awaited(calls.datasets)
    dataset = _awaited(calls.dataset)
    delete_dataset = _awaited(calls.delete_dataset)
    schedule_job = _awaited(scheduling.schedule_job)
    schedules = _awaited(calls.schedules)
    schedule = _awaited(calls.schedule)
    pause_schedule = _awaited(calls.pause_schedule)
    resume_schedule = _awaited(calls.resume_schedule)
    delete_schedule = _awaited(calls.delete_schedule)
    keep = _awaited(calls.keep)
    retention = _awaited(calls.retention)
    apply_retention = _awaited(calls.apply_retention)
    last_cleanup = _awaited(calls.last_cleanup)

    async def watch(
        self, job_id: str | None = None, *, after: int = 0, patience: float | None = PATIENCE
    ) -> AsyncIterator[EventRead]:
        """Client.watch for asyncio."""
        feed = Feed(self.url, job_id, after, patience)
        while not feed.ended:
            cause = CLOSED
            try:
                with feed.call().request() as request:
                    async with self._http.stream(**request, timeout=FEED_TIMEOUT) as response:
                        if response.is_client_error:
                            await response.aread()
                            calls.check(response)
                        async for line in response.aiter_lines():
                            if event := feed.take(line):
                                yield event
            except httpx.TransportError as error:
                cause = cause_of(error)
            if not feed.ended:
                await asyncio.sleep(feed.pause(cause, time.monotonic()))

    async def follow_logs(self, job_id: str, *, stream: str = "all", tail: int = 200) -> AsyncIterator[str]:
        """Client.follow_logs for asyncio."""
        follower = Tail(job_id, stream, tail)
        while not follower.ended:
            for line in await self._talk(follower.read()):
                yield line
            if not follower.ended:
                await asyncio.sleep(follower.pause)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _talk(self, conversation: calls.Conversation[Answer]) -> Answer:
        steps = iter(conversation)
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._take(step)
                except (ClientError, OSError) as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            outcome: Answer = end.value
            return outcome

    async def _take(self, step: Step) -> Any:
        return await (asyncio.to_thread(step.run) if isinstance(step, calls.Work) else self._send(step))

    async def _send(self, call: calls.Call[Answer]) -> Answer:
        repeats = Repeats(call, self._connection)
        while True:
            try:
                return call.answer(await self._receive(call))
            except (httpx.TransportError, ApiError) as error:
                pause = repeats.pause(error)
            await asyncio.sleep(pause)

    async def _receive(self, call: calls.Call[Any]) -> bytes:
        with call.request() as request:
            async with self._http.stream(**request) as response:
                if call.sink is None or not response.is_success:
                    await response.aread()
                    calls.check(response)
                    return response.content
                async for chunk in response.aiter_bytes():
                    call.sink(chunk)
                return b""
