"""When a call is sent again. A transport in memory stands for a server that has trouble."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from runyard.sdk import calls
from runyard.sdk.async_client import AsyncClient
from runyard.sdk.client import Client
from runyard.sdk.connection import BUSY_SECONDS, Connection, Repeats
from runyard.sdk.errors import ApiError, ClientError
from runyard.sdk.submission import submit

HEALTHY = {"status": "ok", "version": "1"}
DOWN = {"type": "x", "title": "down", "status": 503, "detail": "the database does not answer now", "code": "x"}
GET = calls.health()
PAUSE = calls.pause("a1")


def refusal(status: int, retry_after: str | None = "1") -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(status, json=DOWN | {"status": status}, headers=headers)


def as_error(response: httpx.Response) -> ApiError:
    with pytest.raises(ApiError) as raised:
        calls.check(response)
    return raised.value


class Answers:
    """Gives its answers in turn, the last one for ever."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def blocking(answers: Answers, call: Callable[[Any], Any]) -> Any:
    with Client("http://yard", transport=httpx.MockTransport(answers)) as client:
        return call(client)


def awaited(answers: Answers, call: Callable[[Any], Any]) -> Any:
    async def run() -> Any:
        async with AsyncClient("http://yard", transport=httpx.MockTransport(answers)) as client:
            return await call(client)

    return asyncio.run(run())


@pytest.fixture(params=[blocking, awaited])
def send(request: pytest.FixtureRequest) -> Iterator[Any]:
    return request.param


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again(send: Any, status: int) -> None:
    answers = Answers(refusal(status, "0"), refusal(status, "0"), httpx.Response(200, json=HEALTHY))
    assert send(answers, lambda client: client.health()).status == "ok"
    assert answers.asked == 3


@pytest.mark.parametrize(("status", "after"), [(429, None), (503, None), (503, "soon"), (500, "1")])
def test_one_that_does_not_say_when_is_not(send: Any, status: int, after: str | None) -> None:
    answers = Answers(refusal(status, after))
    with pytest.raises(ApiError) as raised:
        send(answers, lambda client: client.health())
    assert (raised.value.status, answers.asked) == (status, 1)


def test_what_might_be_done_twice_is_not_sent_again(send: Any) -> None:
    answers = Answers(refusal(503, "0"))
    with pytest.raises(ApiError):
        send(answers, lambda client: client.retry("a1", fix=True))
    assert answers.asked == 1


def test_a_submission_is_sent_again_with_its_own_key(send: Any) -> None:
    keys = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return refusal(503, "0") if len(keys) < 3 else refusal(409)

    job = {"kind": "script", "command": ["true"], "name": "a"}
    with pytest.raises(ApiError, match="does not answer"):
        send(answer, lambda client: client.submit(job))
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_patience_ends() -> None:
    repeats = Repeats(GET, Connection(None), chance=lambda: 1.0)
    busy = as_error(refusal(503, "4"))
    assert [repeats.pause(busy) for _ in range(5)] == [6.0] * 5
    assert BUSY_SECONDS == 30
    with pytest.raises(ApiError) as raised:
        repeats.pause(busy)
    assert raised.value is busy


def test_a_pause_that_is_too_long_is_not_made() -> None:
    with pytest.raises(ApiError):
        Repeats(GET, Connection(None)).pause(as_error(refusal(429, "3600")))


def test_pauses_are_spread() -> None:
    busy = as_error(refusal(503, "1"))
    assert {Repeats(GET, Connection(None), chance=lambda x=x: x).pause(busy) for x in (0.0, 0.5, 1.0)} == {
        1.0,
        1.25,
        1.5,
    }


def test_only_what_is_harmless() -> None:
    assert GET.harmless
    assert not PAUSE.harmless
    post = next(iter(submit({"kind": "script", "command": ["true"], "name": "a"})))
    assert isinstance(post, calls.Call)
    assert post.harmless
    with pytest.raises(ClientError):
        Repeats(PAUSE, Connection(None)).pause(as_error(refusal(503)))
