"""What can be asked of a server: each request described once, for the blocking and the async client alike.

A Call yields itself and returns its answer, so conversations of several calls read as plain functions:
`job = yield from calls.job(job_id)`.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from runyard.protocol.specs import Spec
from runyard.schemas.artifacts import ArtifactRead
from runyard.schemas.datasets import DataSetRead
from runyard.schemas.jobs import CheckpointRead, EventRead, JobDetail, LogLines
from runyard.schemas.page import Page
from runyard.schemas.problems import ProblemDetails
from runyard.schemas.retention import CleanupRead, RetentionRead
from runyard.schemas.schedules import ScheduleRead
from runyard.schemas.system import Health, SystemRead
from runyard.sdk.errors import ApiError

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
API = "/api/v1"
CHECK_TIMEOUT = httpx.Timeout(60, read=6000)
"""Seconds; the server checks every row before it answers, and gives up by itself."""


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request. `upload` is a file to send; with a `sink` the body is handed over in pieces as it comes."""

    method: str
    path: str
    parse: Callable[[bytes], Answer]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: tuple[str, Path] | None = None
    patient: bool = False
    """The server may check data before it answers."""
    anonymous: bool = False
    """Sent without the key."""
    sink: Callable[[bytes], object] | None = None

    def __iter__(self) -> Generator["Call[Any]", Any, Answer]:
        answer: Answer = yield self
        return answer

    @property
    def repeatable(self) -> bool:
        """May it be sent again after a broken connection? Every request is safe to repeat, but half a body is not."""
        return self.upload is None and self.sink is None

    @property
    def harmless(self) -> bool:
        """May it be sent again after an answer that asks for patience? Only what can't be done twice."""
        return self.method == "GET" or "Idempotency-Key" in self.headers

    @contextmanager
    def request(self) -> Iterator[dict[str, Any]]:
        """The arguments for httpx."""
        request: dict[str, Any] = {
            "method": self.method,
            "url": self.path,
            "params": self.params,
            "headers": self.headers,
        }
        if self.patient:
            request["timeout"] = CHECK_TIMEOUT
        if self.anonymous:
            request["auth"] = None
        if self.upload is None:
            yield request if self.body is None else request | {"json": self.body}
            return
        name, path = self.upload
        with path.open("rb") as file:
            files = {"file": (path.name, file, "application/octet-stream")}
            yield request | {"files": files, "data": {"name": name}}

    def answer(self, body: bytes) -> Answer:
        try:
            return self.parse(body)
        except ValidationError as error:
            raise ApiError(200, _unexpected(200, f"an answer that makes no sense here: {error.title}")) from None


@dataclass(frozen=True)
class Work(Generic[Answer]):
    """Something slow on this machine, such as hashing a file."""

    run: Callable[[], Answer]

    def __iter__(self) -> Generator["Work[Any]", Any, Answer]:
        answer: Answer = yield self
        return answer


class Conversation(Protocol[Answer_co]):
    """Yields calls and work, is sent their answers, and returns the outcome."""

    def __iter__(self) -> Generator[Call[Any] | Work[Any], Any, Answer_co]: ...


def check(response: httpx.Response) -> None:
    """Raises ApiError for an answer that is an error; its body must have been read."""
    if response.is_success:
        return
    try:
        details = ProblemDetails.model_validate_json(response.content)
    except ValidationError:
        details = _unexpected(response.status_code, f"{response.status_code} {response.reason_phrase}")
    if response.next_request is not None:  # not followed: a key is for the server that was named, and for no other
        elsewhere = response.next_request.url.copy_with(path="/", query=None, fragment=None)
        details.hint = f"it sends on to {elsewhere}: give that address if you trust it"
    after = response.headers.get("Retry-After", "")
    raise ApiError(response.status_code, details, float(after) if after.isdecimal() else None)


def _unexpected(status: int, answer: str) -> ProblemDetails:
    return ProblemDetails(
        type="about:blank",
        title="Unexpected answer",
        status=status,
        detail=f"the server answered {answer}",
        code="unexpected_answer",
        hint="is this the address of a Runyard server, of this version?",
    )


def health() -> Call[Health]:
    return get("/health", Health)


def system() -> Call[SystemRead]:
    return get(f"{API}/system", SystemRead)


def post_job(spec: Spec, idempotency_key: str) -> Call[JobDetail]:
    body = json.loads(spec.model_dump_json(exclude_unset=True)) | {"kind": spec.kind}
    headers = {"Idempotency-Key": idempotency_key}
    return Call("POST", f"{API}/jobs", parser(JobDetail), body=body, headers=headers, patient=True)


def job(job_id: str) -> Call[JobDetail]:
    return get(job_path(job_id), JobDetail)


def cancel(job_id: str) -> Call[JobDetail]:
    return _act(job_id, "cancel")


def pause(job_id: str) -> Call[JobDetail]:
    """Ask for a checkpoint at the next step; the job is paused once it is written."""
    return _act(job_id, "pause")


def resume(job_id: str) -> Call[JobDetail]:
    return _act(job_id, "resume")


def retry(job_id: str, *, fix: bool = False, choice: int = 1) -> Call[JobDetail]:
    """Run a failed or cancelled job again as it was, from its last checkpoint where there is one.

    With `fix` the answer is a new job: the failed one with the changes of a choice of its `advice`, counted from 1.
    """
    return replace(_act(job_id, "retry"), body={"fix": True, "choice": choice} if fix else None)


def logs(job_id: str, *, stream: str = "all", tail: int | None = None, offset: int | None = None) -> Call[LogLines]:
    """The last `tail` lines, or what came after `offset`; `stream` is stdout, stderr or all."""
    return get(f"{job_path(job_id)}/logs", LogLines, given(stream=stream, tail=tail, offset=offset))


def events(job_id: str | None = None, *, after: int = 0, limit: int = 1000) -> Call[Page[EventRead]]:
    """Entries of the feed after a cursor: of one job, or of all."""
    return get(f"{_feed(job_id)}/events", Page[EventRead], {"after": after, "limit": limit})


def stream(job_id: str | None, after: int | str) -> Call[None]:
    headers = {"Accept": "text/event-stream"}
    return Call("GET", f"{_feed(job_id)}/stream", nothing, params={"after": after}, headers=headers)


def checkpoints(job_id: str) -> Call[list[CheckpointRead]]:
    return get(f"{job_path(job_id)}/checkpoints", list[CheckpointRead])


def artifacts(job_id: str) -> Call[list[ArtifactRead]]:
    return get(f"{job_path(job_id)}/artifacts", list[ArtifactRead])


def content(path: str, sink: Callable[[bytes], object]) -> Call[None]:
    """A file or ZIP below the API's root, handed to `sink` in pieces."""
    return Call("GET", f"{API}{path}", nothing, sink=sink)


def post_dataset(path: Path, name: str) -> Call[DataSetRead]:
    return Call("POST", f"{API}/datasets", parser(DataSetRead), upload=(name, path), patient=True)


def fetch_dataset(url: str, name: str | None) -> Call[DataSetRead]:
    body = given(url=url, name=name)
    return Call("POST", f"{API}/datasets/fetch", parser(DataSetRead), body=body, patient=True)


def datasets(*, cursor: str | None = None, limit: int = 50) -> Call[Page[DataSetRead]]:
    """One page, newest first."""
    return get(f"{API}/datasets", Page[DataSetRead], given(cursor=cursor, limit=limit))


def dataset(dataset_id: str) -> Call[DataSetRead]:
    return get(f"{API}/datasets/{quote(dataset_id, safe='')}", DataSetRead)


def delete_dataset(dataset_id: str) -> Call[None]:
    return Call("DELETE", f"{API}/datasets/{quote(dataset_id, safe='')}", nothing)


def post_schedule(body: Mapping[str, Any]) -> Call[ScheduleRead]:
    return Call("POST", f"{API}/schedules", parser(ScheduleRead), body=body, patient=True)


def schedules(*, cursor: str | None = None, limit: int = 50) -> Call[Page[ScheduleRead]]:
    """One page, newest first."""
    return get(f"{API}/schedules", Page[ScheduleRead], given(cursor=cursor, limit=limit))


def schedule(name: str) -> Call[ScheduleRead]:
    """By id or name, as all that is asked of one."""
    return get(_schedule(name), ScheduleRead)


def pause_schedule(name: str) -> Call[ScheduleRead]:
    """Nothing is submitted until it is resumed; what is missed meanwhile is not made up for."""
    return Call("POST", f"{_schedule(name)}/pause", parser(ScheduleRead))


def resume_schedule(name: str) -> Call[ScheduleRead]:
    return Call("POST", f"{_schedule(name)}/resume", parser(ScheduleRead))


def delete_schedule(name: str) -> Call[None]:
    """The jobs that it has made stay."""
    return Call("DELETE", _schedule(name), nothing)


def keep(job_id: str, *, keep: bool = True) -> Call[JobDetail]:
    """Never remove anything of a job, nor of those that it needs; False lets it go its way again."""
    return Call("POST", f"{job_path(job_id)}/keep", parser(JobDetail), body={"keep": keep})


def retention() -> Call[RetentionRead]:
    """What would be removed now, why, and how many bytes."""
    return get(f"{API}/retention", RetentionRead)


def apply_retention() -> Call[CleanupRead]:
    """Have it removed now; `last_cleanup` tells when that is done."""
    return Call("POST", f"{API}/retention", parser(CleanupRead))


def last_cleanup() -> Call[CleanupRead]:
    return get(f"{API}/retention/last", CleanupRead)


def get(path: str, model: type[Answer], params: Mapping[str, Any] | None = None) -> Call[Answer]:
    shape: Any = model
    return Call("GET", path, parser(shape), params=params or {})


def _act(job_id: str, verb: str) -> Call[JobDetail]:
    return Call("POST", f"{job_path(job_id)}/{verb}", parser(JobDetail))


def job_path(job_id: str) -> str:
    return f"{API}/jobs/{quote(job_id, safe='')}"


def _schedule(name: str) -> str:
    return f"{API}/schedules/{quote(name, safe='')}"


def _feed(job_id: str | None) -> str:
    return API if job_id is None else job_path(job_id)


@cache
def parser(shape: Any) -> Callable[[bytes], Any]:
    return TypeAdapter(shape).validate_json


def nothing(_body: bytes) -> None:
    return None


def given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value not in (None, [])}
