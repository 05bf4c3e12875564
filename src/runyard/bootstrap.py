"""Puts the parts together: database, executor, engine, application; and runs the server, or the engine alone."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI

from runyard.db.bell import Bell, Topic
from runyard.db.database import Database
from runyard.domain.errors import RunyardError
from runyard.domain.placement import Gpu, Quotas
from runyard.domain.retention import Policy
from runyard.engine import context as engine_context
from runyard.engine import inventory, machine
from runyard.engine.leadership import Leadership
from runyard.engine.seat import Seat
from runyard.executors.local import LocalExecutor
from runyard.protocol import commands
from runyard.server import app, listening
from runyard.server.deps import Yard
from runyard.server.feed import Hub
from runyard.server.instance import Instance
from runyard.server.listening import StartError
from runyard.services.context import Context
from runyard.settings import Settings

log = logging.getLogger(__name__)

PRIVATE = 0o077
NEEDS_POSTGRESQL = (
    "works together with others on one PostgreSQL: set RUNYARD_DATABASE_URL; a SQLite file has one server"
)


def serve(settings: Settings, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `announce` gets the address once requests are answered.

    Raises StartError, and TakenError when another server has the data folder.
    """
    shared = is_shared(settings)
    if not settings.engine and not shared:
        raise StartError(f"a server without engine {NEEDS_POSTGRESQL}")
    os.umask(PRIVATE)
    signal.signal(signal.SIGTERM, _leave)  # uvicorn sends itself the signal again when it has stopped
    signal.signal(signal.SIGINT, _leave)
    with Instance(settings.home, shared=shared) as instance, listening.listen(settings.host, settings.port) as listener:
        url = listening.url(listener, settings.host)

        def started() -> None:
            instance.announce(url)
            announce(url)

        config = listening.config()
        parts = Parts(settings, environment, instance.id)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(parts, config, listener, started))


def run_engine(settings: Settings, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
    """Lead, or stand by, until SIGTERM or SIGINT. `announce` gets the name of this engine.

    Raises StartError, and TakenError when a server has the data folder for itself.
    """
    if not is_shared(settings):
        raise StartError(f"an engine apart {NEEDS_POSTGRESQL}")
    os.umask(PRIVATE)
    with Instance(settings.home, shared=True) as instance:
        parts = Parts(settings, environment, instance.id)
        with (
            suppress(asyncio.CancelledError),
            asyncio.Runner(loop_factory=listening.config().get_loop_factory()) as runner,
        ):
            runner.run(_run_engine(parts, announce))


def is_shared(settings: Settings) -> bool:
    """May several processes use the data folder at once?"""
    return not settings.database.startswith("sqlite")


@dataclass(frozen=True)
class Parts:
    """What a process is made of; `folder` tells its data folder from others."""

    settings: Settings
    environment: Mapping[str, str]
    folder: str


@asynccontextmanager
async def open_yard(parts: Parts) -> AsyncIterator[FastAPI]:
    """The application on a migrated database, with the engine, if wanted, at work beside it. Raises StartError."""
    settings = parts.settings
    async with _open_database(settings) as database:
        hub = Hub(database)
        await hub.start()
        heard: dict[Topic, Callable[[], None]] = {"feed": hub.notify}
        bell = Bell(database, heard)
        running = [hub.run(), bell.run()]

        def notify() -> None:
            hub.notify()
            bell.ring("feed")

        if settings.engine:
            leadership = _leadership(parts, database, notify)
            heard |= {"work": leadership.wake, "queue": leadership.wake_scheduler}
            running.append(leadership.run())

        def wake(topic: Topic) -> None:
            heard.get(topic, notify)()
            bell.ring("feed", topic)

        yard = Yard(
            database,
            hub,
            _context(settings),
            wake,
            time.time,
            machine.gpus_now,
            settings.slots,
            socket.gethostname(),
            await machine.look_for_cgroups() if settings.engine else None,
        )
        async with _beside(*running):
            yield app.build(yard)


async def _run_engine(parts: Parts, announce: Callable[[str], None]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "it is run by a runner"
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    async with _open_database(parts.settings) as database:
        heard: dict[Topic, Callable[[], None]] = {}
        bell = Bell(database, heard)
        leadership = _leadership(parts, database, partial(bell.ring, "feed"))
        heard |= {"work": leadership.wake, "queue": leadership.wake_scheduler}
        async with _beside(bell.run()):
            announce(leadership.name)
            await leadership.run()


@asynccontextmanager
async def _open_database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.database)
    try:
        await _migrate(database)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _beside(*running: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These run until the block is left; one that dies before is told of in the log."""
    tasks = [asyncio.create_task(one) for one in running]
    for task in tasks:
        task.add_done_callback(_tell_of_fault)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell_of_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()):
        log.error("%r has crashed, and this process goes on without it", task.get_coro(), exc_info=fault)


async def _serve(parts: Parts, config: uvicorn.Config, listener: socket.socket, started: Callable[[], None]) -> None:
    async with open_yard(parts) as application:
        config.app = application
        listening.collect_seldom()
        yard: Yard = application.state.yard
        await listening.Server(config, started, yard.hub.close).serve([listener])


async def _migrate(database: Database) -> None:
    try:
        await database.migrate()
    except RunyardError as error:
        raise StartError(f"{error.message}: {error.hint}") from error
    except Exception as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise StartError(f"the database {database.url!r} can't be used: {why}") from error


def _leadership(parts: Parts, database: Database, notify: Callable[[], None]) -> Leadership:
    settings, environment = parts.settings, parts.environment
    gpus = _usable_gpus(settings, environment)
    return Leadership(
        engine_context.Context(
            database=database,
            executor=LocalExecutor({"RUNYARD_CACHE": str(settings.home / "cache"), **environment}),
            runs=settings.home / "runs",
            machine=machine.this(gpus, settings.slots),
            gpu_usage=inventory.usage if gpus and settings.gpus is None else dict,
            quotas=Quotas(settings.max_running_per_user, settings.max_gpus_per_user),
            clock=time.time,
            owner=parts.folder,
            new_id=lambda: secrets.token_hex(6),
            command=partial(commands.command, python=sys.executable),
            notify=notify,
            limits=_context(settings),
            grace_seconds=settings.grace_seconds,
            retry_seconds=settings.retry_seconds,
        ),
        Seat(settings.home / "engine.lock"),
        f"process {os.getpid()} on {socket.gethostname()}",
    )


def _usable_gpus(settings: Settings, environment: Mapping[str, str]) -> list[Gpu]:
    """Those that were declared, or those that are found."""
    if settings.gpus is None:
        return machine.found_gpus(environment.get("CUDA_VISIBLE_DEVICES"))
    return [Gpu(gpu.index, gpu.memory >> 20) for gpu in settings.gpus]


def _context(settings: Settings) -> Context:
    return Context(
        home=settings.home,
        allowed_paths=settings.allowed_paths,
        max_waiting=settings.max_waiting,
        upload_limit=settings.upload_limit,
        min_free=settings.min_free,
        retention=Policy(
            settings.keep_completed_days,
            settings.keep_failed_days,
            settings.keep_logs_days,
            settings.keep_checkpoints_days,
            settings.cache_limit,
        ),
    )


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)
