"""The blocking client.

What can be asked is described in `calls`, `submission`, `download` and `find`; here is only how it is sent.
"""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

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


def _blocking(
    describe: Callable[Asked, calls.Conversation[Answer]],
) -> Callable[Concatenate["Client", Asked], Answer]:
    def method(client: "Client", /, *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return client._talk(describe(*args, **kwargs))

    as_method(method, describe)
    return method


class Client:
    """Talks to a server; usable as a context manager.

    Every method raises NoServerError when nobody answers at `url` and ApiError when the server refuses.
    """

    def __init__(self, url: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self._connection = Connection(url)
        self.url = self._connection.url
        self._http = httpx.Client(transport=transport, **self._connection.options)

    health = _blocking(calls.health)
    system = _blocking(calls.system)
    submit = _blocking(submission.submit)
    job = _blocking(calls.job)
    find_job = _blocking(find.find_job)
    jobs = _blocking(calls.jobs)
    cancel = _blocking(calls.cancel)
    pause = _blocking(calls.pause)
    resume = _blocking(calls.resume)
    retry = _blocking(calls.retry)
    logs = _blocking(calls.logs)
    metrics = _blocking(calls.metrics)
    events = _blocking(calls.events)
    checkpoints = _blocking(calls.checkpoints)
    artifacts = _blocking(calls.artifacts)
    download_model = _blocking(download.download_model)
    download_checkpoint = _blocking(download.download_checkpoint)
    download_logs = _blocking(download.download_logs)
    download_artifact = _blocking(download.download_artifact)
    upload_dataset = _blocking(submission.upload)
    datasets = _blocking(calls.datasets)
    dataset = _blocking(calls.dataset)
    delete_dataset = _blocking(calls.delete_dataset)
    schedule_job = _blocking(scheduling.schedule_job)
    schedules = _blocking(calls.schedules)
    schedule = _blocking(calls.schedule)
    pause_schedule = _blocking(calls.pause_schedule)
    resume_schedule = _blocking(calls.resume_schedule)
    delete_schedule = _blocking(calls.delete_schedule)
    keep = _blocking(calls.keep)
    retention = _blocking(calls.retention)
    apply_retention = _blocking(calls.apply_retention)
    last_cleanup = _blocking(calls.last_cleanup)

    def watch(
        self, job_id: str | None = None, *, after: int = 0, patience: float | None = PATIENCE
    ) -> Iterator[EventRead]:
        """Everything that happens to a job (or in the whole yard), each entry once, until the job has ended.

        Reconnects by itself where it left off. Raises NoServerError when the server was away for `patience` seconds.
        """
        feed = Feed(self.url, job_id, after, patience)
        while not feed.ended:
            cause = CLOSED
            try:
                with feed.call().request() as request, self._http.stream(**request, timeout=FEED_TIMEOUT) as response:
                    if response.is_client_error:
                        response.read()
                        calls.check(response)
                    for line in response.iter_lines():
                        if event := feed.take(line):
                            yield event
            except httpx.TransportError as error:
                cause = cause_of(error)
            if not feed.ended:
                time.sleep(feed.pause(cause, time.monotonic()))

    def follow_logs(self, job_id: str, *, stream: str = "all", tail: int = 200) -> Iterator[str]:
        """The last lines of a job's output and then every new one, until the job has ended."""
        follower = Tail(job_id, stream, tail)
        while not follower.ended:
            yield from self._talk(follower.read())
            if not follower.ended:
                time.sleep(follower.pause)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _talk(self, conversation: calls.Conversation[Answer]) -> Answer:
        steps = iter(conversation)
        try:
            step = next(steps)
            while True:
                try:
                    answer = step.run() if isinstance(step, calls.Work) else self._send(step)
                except (ClientError, OSError) as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            outcome: Answer = end.value
            return outcome

    def _send(self, call: calls.Call[Answer]) -> Answer:
        repeats = Repeats(call, self._connection)
        while True:
            try:
                return call.answer(self._receive(call))
            except (httpx.TransportError, ApiError) as error:
                pause = repeats.pause(error)
            time.sleep(pause)

    def _receive(self, call: calls.Call[Answer]) -> bytes:
        with call.request() as request, self._http.stream(**request) as response:
            if call.sink is None or not response.is_success:
                response.read()
                calls.check(response)
                return response.content
            for chunk in response.iter_bytes():
                call.sink(chunk)
            return b""
