"""The client for asyncio.

What can be asked is described in `calls`, `submission`, `download` and `find`; here is only how it is sent.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar

import httpx

from runyard.schemas.jobs import EventRead
from runyard.sdk import (
    calls,
    download,
    figures,
    find,
    listing,
    overview,
    people,
    scheduling,
    secrecy,
    submission,
    telling,
    templating,
)
from runyard.sdk.connection import (
    CLOSED,
    FEED_TIMEOUT,
    PATIENCE,
    Connection,
    Repeats,
    as_method,
    cause_of,
    unheard,
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

    def __init__(
        self, url: str | None = None, *, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._connection = Connection(url, key)
        self.url = self._connection.url
        self._http = httpx.AsyncClient(transport=transport, **self._connection.options)

    health = _awaited(calls.health)
    system = _awaited(calls.system)
    overview = _awaited(overview.overview)
    submit = _awaited(submission.submit)
    job = _awaited(calls.job)
    find_job = _awaited(find.find_job)
    jobs = _awaited(listing.jobs)
    count_jobs = _awaited(listing.count_jobs)
    change_job = _awaited(listing.change_job)
    change_jobs = _awaited(listing.change_jobs)
    cancel = _awaited(calls.cancel)
    pause = _awaited(calls.pause)
    resume = _awaited(calls.resume)
    retry = _awaited(calls.retry)
    logs = _awaited(calls.logs)
    metrics = _awaited(figures.metrics)
    curves = _awaited(figures.curves)
    samples = _awaited(figures.samples)
    job_analytics = _awaited(figures.job_analytics)
    analytics_summary = _awaited(figures.analytics_summary)
    compare_jobs = _awaited(figures.compare_jobs)
    compared_as_csv = _awaited(figures.compared_as_csv)
    trends = _awaited(figures.trends)
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
    templates = _awaited(templating.templates)
    template = _awaited(templating.template)
    template_versions = _awaited(templating.template_versions)
    save_template = _awaited(templating.save_template)
    delete_template = _awaited(templating.delete_template)
    fill_template = _awaited(templating.fill_template)
    submit_template = _awaited(templating.submit_template)
    job_template = _awaited(templating.job_template)
    keep = _awaited(calls.keep)
    retention = _awaited(calls.retention)
    apply_retention = _awaited(calls.apply_retention)
    last_cleanup = _awaited(calls.last_cleanup)
    channels = _awaited(telling.channels)
    channel = _awaited(telling.channel)
    add_channel = _awaited(telling.add_channel)
    change_channel = _awaited(telling.change_channel)
    remove_channel = _awaited(telling.remove_channel)
    rotate_channel_secret = _awaited(telling.rotate_channel_secret)
    test_channel = _awaited(telling.test_channel)
    deliveries = _awaited(telling.deliveries)
    delivery = _awaited(telling.delivery)
    resend_delivery = _awaited(telling.resend_delivery)
    secrets = _awaited(secrecy.secrets)
    set_secret = _awaited(secrecy.set_secret)
    remove_secret = _awaited(secrecy.remove_secret)
    whoami = _awaited(people.whoami)
    log_in = _awaited(people.log_in)
    users = _awaited(people.users)
    user = _awaited(people.user)
    create_user = _awaited(people.create_user)
    change_user = _awaited(people.change_user)
    change_password = _awaited(people.change_password)
    keys = _awaited(people.keys)
    create_key = _awaited(people.create_key)
    revoke_key = _awaited(people.revoke_key)
    tenants = _awaited(people.tenants)
    create_tenant = _awaited(people.create_tenant)
    change_tenant = _awaited(people.change_tenant)
    quotas = _awaited(people.quotas)
    limits = _awaited(people.limits)
    set_quotas = _awaited(people.set_quotas)
    audit = _awaited(people.audit)
    export_audit = _awaited(people.export_audit)

    async def watch(
        self,
        job_id: str | None = None,
        *,
        after: int | Literal["latest"] = 0,
        patience: float | None = PATIENCE,
        heard: Callable[[str | None], object] = unheard,
    ) -> AsyncIterator[EventRead]:
        """Client.watch for asyncio."""
        feed = Feed(self.url, job_id, after, patience)
        while not feed.ended:
            cause = CLOSED
            try:
                with feed.call().request() as request:
                    async with self._http.stream(**request, timeout=FEED_TIMEOUT) as response:
                        if response.is_client_error or response.is_redirect:
                            await response.aread()
                            calls.check(response)
                        async for line in response.aiter_lines():
                            if response.is_success:
                                heard(None)
                            if event := feed.take(line):
                                yield event
            except httpx.TransportError as error:
                cause = cause_of(error)
            if not feed.ended:
                heard(cause)
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
