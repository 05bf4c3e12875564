"""Puts the parts together: database, executor, engine, application; and runs the server."""

import asyncio
import errno
import gc
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from runyard.db.database import Database
from runyard.domain.errors import RunyardError
from runyard.domain.placement import Machine
from runyard.engine import context as engine_context
from runyard.engine import inventory
from runyard.engine.engine import Engine
from runyard.executors.local import LocalExecutor
from runyard.protocol import commands
from runyard.schemas.system import GpuRead
from runyard.server import app
from runyard.server.deps import Yard
from runyard.server.feed import Hub
from runyard.server.instance import Instance
from runyard.services.context import Context
from runyard.settings import Settings

PRIVATE = 0o077
GRACE_SECONDS = 2
"""For requests under way when the server stops; streams are told to end at once."""
CLIENT_SILENCE_MILLISECONDS = 600_000
"""The system drops a connection whose client has taken nothing for so long."""


class StartError(RuntimeError):
    """The server can't start; says why and what to do."""


def serve(settings: Settings, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `announce` gets the address once requests are answered.

    Raises StartError, and TakenError when another server has the data folder.
    """
    os.umask(PRIVATE)
    signal.signal(signal.SIGTERM, _leave)  # uvicorn sends itself the signal again when it has stopped
    signal.signal(signal.SIGINT, _leave)
    with Instance(settings.home) as instance, _listen(settings) as listener:
        url = _url(listener, settings)

        def started() -> None:
            instance.announce(url)
            announce(url)

        _forget_broken_uploads(settings)
        config = server_config()
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(settings, environment, config, listener, started))


@asynccontextmanager
async def open_yard(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[FastAPI]:
    """The application on a migrated database, with the engine at work beside it. Raises StartError."""
    database = Database(settings.database)
    try:
        await _migrate(database)
        hub = Hub(database)
        await hub.start()
        engine = _engine(settings, environment, database, hub)
        yard = Yard(database, hub, _context(settings), engine.wake, time.time, _gpus, settings.slots)
        tasks = [asyncio.create_task(hub.run()), asyncio.create_task(engine.run())]
        try:
            yield app.build(yard)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await database.close()


class Server(uvicorn.Server):
    """Says when it has started, and ends the streams before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started
        self._on_stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)


async def _serve(
    settings: Settings,
    environment: Mapping[str, str],
    config: uvicorn.Config,
    listener: socket.socket,
    started: Callable[[], None],
) -> None:
    async with open_yard(settings, environment) as application:
        config.app = application
        _collect_seldom()
        yard: Yard = application.state.yard
        await Server(config, started, yard.hub.close).serve([listener])


def server_config() -> uvicorn.Config:
    return uvicorn.Config(
        app="",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_per_message_deflate=False,  # costs far more time than loopback saves
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


async def _migrate(database: Database) -> None:
    try:
        await database.migrate()
    except RunyardError as error:
        raise StartError(f"{error.message}: {error.hint}") from error
    except Exception as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise StartError(f"the database {database.url!r} can't be used: {why}") from error


def _listen(settings: Settings) -> socket.socket:
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, settings.port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"port {settings.port} is taken by another program: choose one with --port") from None
        raise StartError(f"can't listen on {host}:{settings.port}: {error.strerror}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CLIENT_SILENCE_MILLISECONDS)
    return listener


def _url(listener: socket.socket, settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _engine(settings: Settings, environment: Mapping[str, str], database: Database, hub: Hub) -> Engine:
    gpus = inventory.allowed(inventory.gpus(), environment.get("CUDA_VISIBLE_DEVICES"))
    return Engine(
        engine_context.Context(
            database=database,
            executor=LocalExecutor({"RUNYARD_CACHE": str(settings.home / "cache"), **environment}),
            runs=settings.home / "runs",
            machine=Machine(tuple(gpu.index for gpu in gpus), settings.slots),
            clock=time.time,
            owner=f"{socket.gethostname()}:{settings.home}",
            new_id=lambda: secrets.token_hex(6),
            command=partial(commands.command, python=sys.executable),
            notify=hub.notify,
            grace_seconds=settings.grace_seconds,
            retry_seconds=settings.retry_seconds,
        )
    )


def _gpus() -> list[GpuRead]:
    return [GpuRead(**asdict(gpu)) for gpu in inventory.gpus()]


def _context(settings: Settings) -> Context:
    return Context(
        home=settings.home,
        allowed_paths=settings.allowed_paths,
        max_waiting=settings.max_waiting,
        upload_limit=settings.upload_limit,
        min_free=settings.min_free,
    )


def _forget_broken_uploads(settings: Settings) -> None:
    for folder in (settings.home / "datasets").glob(".incoming-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _collect_seldom() -> None:
    """What is loaded stays, so that looking through it again and again only makes open pages wait: half the p99."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)
