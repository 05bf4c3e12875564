"""A yard to test in: a real database, real processes, and small trainers written as a few lines of code in the spec."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from runyard.db.database import Database
from runyard.db.queries import attempts, checkpoints, events, jobs, metrics, moves
from runyard.db.tables import Attempt, Job, Move
from runyard.domain.lifecycle import FINAL, Cause
from runyard.domain.placement import Machine
from runyard.engine.context import Context
from runyard.engine.engine import Engine
from runyard.executors.local import LocalExecutor
from runyard.protocol import commands
from runyard.protocol.commands import Command
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.script import ScriptSpec
from runyard.services.context import Context as Limits

SECONDS = 30.0

TRAINER = """
import json, os, signal, sys, time
os.chdir(sys.argv[1])
attempt = int(sys.argv[2])
open("starts", "a").write("x")
file = open("events.jsonl", "ab", buffering=0)
number = sum(1 for _ in open("events.jsonl", "rb"))

def say(type, **fields):
    global number
    number += 1
    event = {"n": number, "at": time.time(), "attempt": attempt, "type": type, **fields}
    file.write(json.dumps(event).encode() + b"\\n")

def metric(step, **values):
    say("metric", step=step, values=values)

def until(name):
    while not os.path.exists(name):
        time.sleep(0.005)

def leave(*_):
    say("finished", outcome="stopped")
    sys.exit(75)

exec(json.load(open("spec.json"))["code"])
"""
OBEDIENT = "signal.signal(signal.SIGTERM, leave)\nsay('phase', phase='training')\n"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay('phase', phase='training')\n"


def command(spec: Mapping[str, Any], rundir: RunDir, attempt: int) -> Command:
    if spec.get("kind") == "script":
        return commands.command(spec, rundir, attempt, sys.executable)
    argv = (sys.executable, "-S", "-c", TRAINER, str(rundir.root), str(attempt))
    return Command(argv, rundir.root, {})


def make_context(database: Database, runs: Path, **values: Any) -> Context:
    defaults: dict[str, Any] = {
        "executor": LocalExecutor({}),
        "machine": Machine(),
        "clock": time.time,
        "owner": "here",
        "new_id": lambda: uuid4().hex,
        "command": command,
        "notify": lambda: None,
        "limits": Limits(home=runs.parent, min_free=0),
        "retry_seconds": 0.05,
    }
    return Context(database=database, runs=runs, **defaults | values)


class Yard:
    def __init__(self, database: Database, runs: Path, **values: Any) -> None:
        self.database = database
        self.context = make_context(database, runs, **values)
        self.engine = Engine(self.context)
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self.engine.run())

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def restart(self, **values: Any) -> None:
        """The engine ends and another takes over, as after a restart of the server."""
        await self.stop()
        executor = LocalExecutor({})
        self.context = replace(self.context, executor=executor, token="", **values)
        self.engine = Engine(self.context)
        self.start()

    async def clean(self) -> None:
        """Nothing that was started stays behind, whichever engine it was that started it."""
        await self.stop()
        async with self.database.read() as session:
            started = set(await session.scalars(select(Attempt.id)))
        await eventually(partial(self._is_swept, started))

    async def _is_swept(self, nonces: set[str]) -> bool:
        left = nonces & await self.context.executor.running()
        await self.context.executor.sweep(left)
        return not left

    def run(self, id_: str) -> Path:
        return self.context.runs / id_

    async def submit(self, id_: str, code: str = "", limits: dict[str, Any] | None = None, **values: Any) -> None:
        """A job that fails for good when it fails, unless its limits say otherwise."""
        now = self.context.clock()
        row = {
            "tenant": "main",
            "user": "local",
            "kind": "sft",
            "name": id_,
            "spec": {},
            "priority": "normal",
            "state": "queued",
            "events_offset": 0,
        }
        row |= {"attempts": 0, "created_at": now, "queued_at": now, "updated_at": now}
        async with self.database.write() as session:
            resolved = {"code": code, "limits": {"retries": 0} | (limits or {})}
            session.add(Job(id=id_, **{"resolved_spec": resolved, **row} | values))
        self.engine.wake()

    async def submit_script(self, id_: str, code: str, limits: dict[str, Any] | None = None, **fields: Any) -> None:
        """A script of this Python code, or with `file` set to None what the other fields of its spec say."""
        file = self.context.runs.parent / f"{id_}.py"
        file.write_text(code)
        spec = ScriptSpec.model_validate({"file": str(file), "limits": {"retries": 0} | (limits or {}), **fields})
        values: dict[str, Any] = {
            "kind": "script",
            "resumable": spec.resumable,
            "resolved_spec": spec.model_dump(mode="json"),
        }
        await self.submit(id_, **values)

    async def ask(self, id_: str, cause: Cause) -> None:
        async with self.database.write() as session:
            job = await session.get_one(Job, id_)
            await jobs.apply_move(session, job, cause, "me", self.context.clock())
        self.engine.wake()

    async def job(self, id_: str) -> Job:
        async with self.database.read() as session:
            return await session.get_one(Job, id_)

    async def attempts(self, id_: str) -> list[Attempt]:
        async with self.database.read() as session:
            return list(await attempts.of_job(session, id_))

    async def moves(self, id_: str) -> Sequence[Move]:
        async with self.database.read() as session:
            return await moves.of_job(session, id_)

    async def states(self, id_: str) -> list[str]:
        return [move.after for move in await self.moves(id_)]

    async def feed(self, id_: str, type_: str | None = None) -> list[events.Event]:
        async with self.database.read() as session:
            found = await events.after(session, 0, id_, 100_000)
        return [event for event in found if type_ in (None, event.type)]

    async def curve(self, id_: str) -> dict[int, float | None]:
        async with self.database.read() as session:
            return {row.step: row.values["loss"] for row in await metrics.of_job(session, id_)}

    async def checkpoints(self, id_: str) -> list[int]:
        async with self.database.read() as session:
            return [row.step for row in await checkpoints.of_job(session, id_)]

    async def reaches(self, id_: str, state: str, after: str | None = None) -> Job:
        """The job once it is in a state; with `after`, once it was in that other state before."""
        async with asyncio.timeout(SECONDS):
            while (job := await self.job(id_)).state != state or not await self._came(id_, state, after):
                assert after or job.state not in FINAL, f"{job.state}: {job.message}"
                await asyncio.sleep(0.02)
        return job

    async def _came(self, id_: str, state: str, after: str | None) -> bool:
        states = await self.states(id_)
        return after is None or (after in states and states.index(after) < len(states) - 1 and states[-1] == state)


async def eventually(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


async def appears(path: Path) -> None:
    await eventually(lambda: asyncio.to_thread(path.exists))
