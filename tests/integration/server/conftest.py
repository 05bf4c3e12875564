"""The application behind a real server and on both databases, without an engine: nothing here starts a trainer."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from runyard.db.database import Database
from runyard.db.queries import events, jobs
from runyard.domain.lifecycle import Cause
from runyard.domain.quotas import Quota
from runyard.server import app, listening
from runyard.server.deps import Yard
from runyard.server.feed import Hub
from runyard.server.gate import Gate
from runyard.server.instance import make_private
from runyard.services.context import Context

MEGABYTE = 1_000_000
SFT_ROWS = b'{"prompt": "two eggs", "completion": "2"}\n{"prompt": "six eggs", "completion": "6"}\n'


@pytest.fixture
def context(tmp_path: Path) -> Context:
    home = tmp_path / "home"
    make_private(home)
    return Context(home=home, each_user={Quota.WAITING: 5}, upload_limit=20 * MEGABYTE, min_free=1)


@pytest.fixture
async def yard(database: Database, context: Context) -> AsyncIterator[Yard]:
    hub = Hub(database, size=50)
    await hub.start()
    reading = asyncio.create_task(hub.run())
    gate = Gate(database, time.time, device_key=b"device")
    yield Yard(database, hub, context, gate, wake=lambda topic: None, clock=time.time, gpus=list, slots=1)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


@pytest.fixture
async def url(yard: Yard) -> AsyncIterator[str]:
    """Where the server answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    started = asyncio.Event()
    config = listening.config()
    config.app = app.build(yard)
    server = listening.Server(config, started.set, yard.hub.close)
    serving = asyncio.create_task(server.serve([listener]))
    await started.wait()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving


class Api(httpx.AsyncClient):
    """A client that knows what the tests ask for again and again."""

    async def upload(self, filename: str, content: bytes = SFT_ROWS, **fields: str) -> httpx.Response:
        return await self.post("/api/v1/datasets", files={"file": (filename, content)}, data=fields)

    async def dataset(self) -> str:
        """Id of the one uploaded data set."""
        if not hasattr(self, "_dataset"):
            answer = await self.upload("orders.jsonl")
            assert answer.status_code == 201, answer.text
            self._dataset = str(answer.json()["id"])
        return self._dataset

    async def submit(self, key: str | None = None, **fields: Any) -> httpx.Response:
        spec = {"kind": "sft", "model": "owner/model", **fields}
        spec.setdefault("data", f"dataset:{await self.dataset()}")
        headers = {"Idempotency-Key": key} if key else {}
        return await self.post("/api/v1/jobs", json=spec, headers=headers)

    async def job(self, **fields: Any) -> str:
        """Id of a new job."""
        answer = await self.submit(**fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


class Engine:
    """Does to rows what the engine would."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard

    async def move(self, job_id: str, *causes: Cause) -> None:
        async with self.yard.database.write() as session:
            job = await jobs.get(session, job_id)
            assert job is not None
            for cause in causes:
                await jobs.apply_move(session, job, cause, "engine", time.time())
        self.yard.hub.notify()

    async def complete(self, job_id: str) -> None:
        await self.move(job_id, Cause.PLACED, Cause.STARTED, Cause.COMPLETED)

    async def tell(self, job_id: str, steps: Iterable[int], **data: Any) -> None:
        """Append a metric event for each step."""
        rows = [
            {"job_id": job_id, "at": time.time(), "type": "metric", "data": {"step": step, **data}} for step in steps
        ]
        async with self.yard.database.write() as session:
            await events.append_all(session, rows)
        self.yard.hub.notify()


@pytest.fixture
async def api(url: str) -> AsyncIterator[Api]:
    # A connection that has rested is not used again: the server may be closing it at that very moment.
    async with Api(base_url=url, timeout=30, limits=httpx.Limits(keepalive_expiry=1)) as client:
        yield client


@pytest.fixture
def engine(yard: Yard) -> Engine:
    return Engine(yard)
