"""The blocking client.

What can be asked is described in `calls`, `submission`, `download` and `find`; here is only how it is sent.
"""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, Literal, ParamSpec, Self, TypeVar

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


def _blocking(
    describe: Callable[Asked, calls.Conversation[Answer]],
) -> Callable[Concatenate["Client", Asked], Answer]:
    def method(client: "Client", /, *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return client._talk(describe(*args, **kwargs))

    as_method(method, describe)
    return method


class Client:
    """Talks to a server; usable as a context manager.

    Unless given, `url` is RUNYARD_URL or this machine's own, and `key` is RUNYARD_KEY or the one that `runyard login`
    keeps for this server. Every method raises NoServerError when nobody answers at `url` and ApiError when the server
    refuses.
    """

    def __init__(
        self, url: str | None = None, *, key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._connection = Connection(url, key)
        self.url = self._connection.url
        self._http = httpx.Client(transport=transport, **self._connection.options)

    health = _blocking(calls.health)
    system = _blocking(calls.system)
    overview = _blocking(overview.overview)
    submit = _blocking(submission.submit)
    job = _blocking(calls.job)
    find_job = _blocking(find.find_job)
    jobs = _blocking(listing.jobs)
    count_jobs = _blocking(listing.count_jobs)
    change_job = _blocking(listing.change_job)
    change_jobs = _blocking(listing.change_jobs)
    cancel = _blocking(calls.cancel)
    pause = _blocking(calls.pause)
    resume = _blocking(calls.resume)
    retry = _blocking(calls.retry)
    logs = _blocking(calls.logs)
    metrics = _blocking(figures.metrics)
    curves = _blocking(figures.curves)
    samples = _blocking(figures.samples)
    job_analytics = _blocking(figures.job_analytics)
    analytics_summary = _blocking(figures.analytics_summary)
    compare_jobs = _blocking(figures.compare_jobs)
    compared_as_csv = _blocking(figures.compared_as_csv)
    trends = _blocking(figures.trends)
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
    templates = _blocking(templating.templates)
    template = _blocking(templating.template)
    template_versions = _blocking(templating.template_versions)
    save_template = _blocking(templating.save_template)
    delete_template = _blocking(templating.delete_template)
    fill_template = _blocking(templating.fill_template)
    submit_template = _blocking(templating.submit_template)
    job_template = _blocking(templating.job_template)
    keep = _blocking(calls.keep)
    retention = _blocking(calls.retention)
    apply_retention = _blocking(calls.apply_retention)
    last_cleanup = _blocking(calls.last_cleanup)
    channels = _blocking(telling.channels)
    channel = _blocking(telling.channel)
    add_channel = _blocking(telling.add_channel)
    change_channel = _blocking(telling.change_channel)
    remove_channel = _blocking(telling.remove_channel)
    rotate_channel_secret = _blocking(telling.rotate_channel_secret)
    test_channel = _blocking(telling.test_channel)
    deliveries = _blocking(telling.deliveries)
    delivery = _blocking(telling.delivery)
    resend_delivery = _blocking(telling.resend_delivery)
    secrets = _blocking(secrecy.secrets)
    set_secret = _blocking(secrecy.set_secret)
    remove_secret = _blocking(secrecy.remove_secret)
    whoami = _blocking(people.whoami)
    log_in = _blocking(people.log_in)
    users = _blocking(people.users)
    user = _blocking(people.user)
    create_user = _blocking(people.create_user)
    change_user = _blocking(people.change_user)
    change_password = _blocking(people.change_password)
    keys = _blocking(people.keys)
    create_key = _blocking(people.create_key)
    revoke_key = _blocking(people.revoke_key)
    tenants = _blocking(people.tenants)
    create_tenant = _blocking(people.create_tenant)
    change_tenant = _blocking(people.change_tenant)
    quotas = _blocking(people.quotas)
    limits = _blocking(people.limits)
    set_quotas = _blocking(people.set_quotas)
    audit = _blocking(people.audit)
    export_audit = _blocking(people.export_audit)

    def watch(
        self,
        job_id: str | None = None,
        *,
        after: int | Literal["latest"] = 0,
        patience: float | None = PATIENCE,
        heard: Callable[[str | None], object] = unheard,
    ) -> Iterator[EventRead]:
        """Everything that happens to a job (or in the whole yard), each entry once, until the job has ended.

        Reconnects by itself where it left off; `heard` is told None at each sign of life, and otherwise why there is
        none. Raises NoServerError when the server was away for `patience` seconds.
        """
        feed = Feed(self.url, job_id, after, patience)
        while not feed.ended:
            cause = CLOSED
            try:
                with feed.call().request() as request, self._http.stream(**request, timeout=FEED_TIMEOUT) as response:
                    if response.is_client_error or response.is_redirect:
                        response.read()
                        calls.check(response)
                    for line in response.iter_lines():
                        if response.is_success:
                            heard(None)
                        if event := feed.take(line):
                            yield event
            except httpx.TransportError as error:
                cause = cause_of(error)
            if not feed.ended:
                heard(cause)
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
