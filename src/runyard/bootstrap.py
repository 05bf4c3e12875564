"""Puts the parts together: database, executor, engine, application; and runs the server, or the engine alone."""

import asyncio
import hmac
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import httpx
import uvicorn

from runyard import __version__, datafolder
from runyard.db.bell import Bell, Topic
from runyard.db.database import Database
from runyard.domain.placement import Gpu
from runyard.domain.quotas import Quota
from runyard.domain.retention import Policy
from runyard.engine import context as engine_context
from runyard.engine import inventory, machine
from runyard.engine.leadership import Leadership
from runyard.engine.seat import Seat
from runyard.executors import cgroups, users
from runyard.executors.base import User
from runyard.executors.environment import for_trainer
from runyard.executors.local import LocalExecutor
from runyard.protocol import commands
from runyard.server import app, listening, setting_up
from runyard.server.deps import Yard
from runyard.server.feed import Hub
from runyard.server.gate import Gate
from runyard.server.guard import Names
from runyard.server.instance import Instance, private_key
from runyard.server.listening import StartError
from runyard.server.setting_up import SettingUp
from runyard.services import accounts
from runyard.services.context import Context
from runyard.services.outbound import Outbound
from runyard.services.secrets import HUB_TOKEN
from runyard.services.tokens import Issuer, Tokens
from runyard.services.tracing import Traces
from runyard.settings import Settings

log = logging.getLogger(__name__)

FETCH_SECONDS = 10
NEEDS_POSTGRESQL = (
    "works together with others on one PostgreSQL: set RUNYARD_DATABASE_URL; a SQLite file has one server"
)


def serve(
    settings: Settings,
    environment: Mapping[str, str],
    announce: Callable[["Started"], None],
    *,
    sets_up: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT. `announce` is called once requests are answered. With `sets_up` the first account
    can be made by a one-time link, as long as there is none.

    Raises StartError, and TakenError when another server has the data folder.
    """
    shared = datafolder.is_shared(settings)
    if not settings.engine and not shared:
        raise StartError(f"a server without engine {NEEDS_POSTGRESQL}")
    os.umask(datafolder.PRIVATE)
    signal.signal(signal.SIGTERM, _leave)  # uvicorn sends itself the signal again when it has stopped
    signal.signal(signal.SIGINT, _leave)
    with (
        Instance(settings.home, shared=shared, passed=bool(settings.tenant_users)) as instance,
        listening.listen(settings.host, settings.port) as listener,
    ):
        certificate = (settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
        url = listening.url(listener, settings.host, https=certificate is not None)
        config = listening.config(settings.trusted_proxies, certificate)
        word = setting_up.new_word() if sets_up else ""
        parts = Parts(settings, environment, instance.id, word)

        def started(yard: Yard) -> None:
            instance.announce(url)
            link = setting_up.link(_url_for_others(url, settings), word) if yard.setting_up else None
            announce(Started(url, yard.gate.is_known_to_be_open, link))

        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(parts, config, listener, started))


def run_engine(settings: Settings, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
    """Lead, or stand by, until SIGTERM or SIGINT. `announce` gets the name of this engine.

    Raises StartError, and TakenError when a server has the data folder for itself.
    """
    if not datafolder.is_shared(settings):
        raise StartError(f"an engine apart {NEEDS_POSTGRESQL}")
    os.umask(datafolder.PRIVATE)
    with Instance(settings.home, shared=True, passed=bool(settings.tenant_users)) as instance:
        parts = Parts(settings, environment, instance.id)
        with (
            suppress(asyncio.CancelledError),
            asyncio.Runner(loop_factory=listening.config().get_loop_factory()) as runner,
        ):
            runner.run(_run_engine(parts, announce))


@dataclass(frozen=True)
class Started:
    """Where a server answers, and whether it lets in everybody who reaches it: whoever is on this machine."""

    url: str
    is_open: bool
    set_up_link: str | None = None
    """By which the first account can be made."""


@dataclass(frozen=True)
class Parts:
    """What a process is made of; `folder` tells its data folder from others."""

    settings: Settings
    environment: Mapping[str, str]
    folder: str
    set_up_word: str = field(default="", repr=False)

    @property
    def trainer_environment(self) -> dict[str, str]:
        return for_trainer({"RUNYARD_CACHE": str(self.settings.home / "cache"), **self.environment})


@asynccontextmanager
async def open_yard(parts: Parts) -> AsyncIterator[Yard]:
    """What requests share, on a migrated database, with the engine, if wanted, at work beside it. Raises StartError."""
    settings = parts.settings
    async with _open_traces(settings) as traces, datafolder.opened(settings) as database:
        hub = Hub(database)
        await hub.start()
        gate = _gate(settings, database)
        await _require_accounts(settings, gate, sets_up=bool(parts.set_up_word))
        heard: dict[Topic, Callable[[], None]] = {"feed": hub.notify, "access": gate.forget}
        bell = Bell(database, heard)
        running = [hub.run(), bell.run(), gate.run()]

        def notify() -> None:
            hub.notify()
            bell.ring("feed")

        if settings.engine:
            leadership = _leadership(parts, database, notify, traces)
            heard |= {"work": leadership.wake, "queue": leadership.wake_scheduler}
            running.append(leadership.run())

        def wake(topic: Topic) -> None:
            heard.get(topic, notify)()
            bell.ring("feed", topic)

        yard = Yard(
            database,
            hub,
            _context(parts),
            gate,
            wake,
            time.time,
            machine.gpus_now,
            settings.slots,
            socket.gethostname(),
            await machine.look_for_cgroups() if settings.engine else None,
            traces,
            await _set_up(parts, database),
        )
        async with _beside(*running, yard.scrape.run()):
            yield yard


async def _run_engine(parts: Parts, announce: Callable[[str], None]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "it is run by a runner"
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    async with _open_traces(parts.settings) as traces, datafolder.opened(parts.settings) as database:
        heard: dict[Topic, Callable[[], None]] = {}
        bell = Bell(database, heard)
        leadership = _leadership(parts, database, partial(bell.ring, "feed"), traces)
        heard |= {"work": leadership.wake, "queue": leadership.wake_scheduler}
        async with _beside(bell.run()):
            announce(leadership.name)
            await leadership.run()


@asynccontextmanager
async def _open_traces(settings: Settings) -> AsyncIterator[Traces]:
    if not settings.otlp_endpoint:
        yield Traces()
        return
    try:
        from runyard.services import otlp  # noqa: PLC0415 - what it needs is an extra
    except ImportError:
        why = "OTEL_EXPORTER_OTLP_ENDPOINT is set, and traces take OpenTelemetry: pip install 'runyard[otel]'"
        raise StartError(why) from None
    traces = otlp.to(settings.otlp_endpoint, settings.otlp_headers, __version__)
    try:
        yield traces
    finally:
        await asyncio.to_thread(traces.close)


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


async def _serve(
    parts: Parts, config: uvicorn.Config, listener: socket.socket, started: Callable[[Yard], None]
) -> None:
    async with open_yard(parts) as yard:
        config.app = app.build(yard, _names(parts.settings))
        listening.collect_seldom()
        await listening.Server(config, partial(started, yard), yard.hub.close).serve([listener])


def _gate(settings: Settings, database: Database) -> Gate:
    return Gate(
        database,
        time.time,
        always=not settings.is_loopback,
        tokens=Tokens(_issuer(settings), _fetch, time.monotonic) if settings.jwt_issuer else None,
        requests_per_second=settings.requests_per_second,
        device_key=hmac.digest(private_key(settings.home), b"browsers that are known", "sha256"),
    )


def _issuer(settings: Settings) -> Issuer:
    key = settings.jwt_key.read_text().strip() if settings.jwt_key else None
    return Issuer(
        settings.jwt_issuer, settings.jwt_audience, settings.jwt_algorithms, settings.jwt_jwks_url or None, key
    )


async def _fetch(url: str) -> bytes:
    """Raises OSError."""
    try:
        async with httpx.AsyncClient(timeout=FETCH_SECONDS) as client:
            answer = (await client.get(url)).raise_for_status()
    except httpx.HTTPError as error:
        raise OSError(f"{url} can't be read: {error}") from error
    return answer.content


async def _set_up(parts: Parts, database: Database) -> SettingUp | None:
    async with database.read() as session:
        is_done = not parts.set_up_word or await accounts.exist(session)
    return None if is_done else SettingUp.begin(parts.set_up_word, time.time())


def _url_for_others(url: str, settings: Settings) -> str:
    """By a name that they may have for this machine, where it listens on all its addresses."""
    if settings.host not in ("0.0.0.0", "::"):
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{next(iter(settings.hosts), socket.gethostname())}:{rest.rpartition(':')[2]}"


async def _require_accounts(settings: Settings, gate: Gate, *, sets_up: bool) -> None:
    """Raises StartError: what others can reach must not let in everybody."""
    async with gate.database.read() as session:
        has_accounts = await accounts.exist(session)
    if settings.tenant_users and await gate.is_open():
        raise StartError(
            "RUNYARD_TENANT_USERS keeps nobody apart while there are no accounts: until then every program on this "
            "machine is an admin. Make the first with `runyard users create NAME`, then start again"
        )
    if not settings.is_loopback and not has_accounts and not sets_up:
        raise StartError(
            f"others can reach {settings.host}, and there are no accounts: make the first with `runyard users create "
            "NAME`, then start again, or start with --setup, which prints a one-time link. Without accounts it listens "
            "on 127.0.0.1 only; from another machine: ssh -L 8000:127.0.0.1:8000 THIS_MACHINE"
        )
    await gate.is_open()


def _names(settings: Settings) -> Names:
    if settings.is_loopback:
        return Names(settings.hosts)
    return Names({*settings.hosts, socket.gethostname().lower(), settings.host}, addresses=True)


def _leadership(parts: Parts, database: Database, notify: Callable[[], None], traces: Traces) -> Leadership:
    settings, environment = parts.settings, parts.environment
    gpus = _usable_gpus(settings, environment)
    _make_way_for_limits(settings)
    return Leadership(
        engine_context.Context(
            database=database,
            executor=LocalExecutor(parts.trainer_environment),
            runs=settings.home / "runs",
            machine=machine.this(gpus, settings.slots),
            gpu_usage=inventory.usage if gpus and settings.gpus is None else dict,
            clock=time.time,
            owner=parts.folder,
            new_id=lambda: secrets.token_hex(6),
            command=partial(commands.command, python=sys.executable),
            notify=notify,
            traces=traces,
            limits=_context(parts),
            users=_users(settings),
            enforces_limits=settings.enforce_limits,
            hub_token=environment.get(HUB_TOKEN, ""),
            grace_seconds=settings.grace_seconds,
            retry_seconds=settings.retry_seconds,
        ),
        Seat(settings.home / "engine.lock"),
        f"process {os.getpid()} on {socket.gethostname()}",
    )


def _users(settings: Settings) -> Mapping[str, User]:
    """Raises StartError."""
    try:
        return users.of_tenants(settings.tenant_users, settings.home, sys.executable)
    except users.UsersError as error:
        raise StartError(f"RUNYARD_TENANT_USERS: {error}") from None


def _make_way_for_limits(settings: Settings) -> None:
    """Raises StartError."""
    if settings.enforce_limits and (why := cgroups.make_way()):
        raise StartError(
            f"RUNYARD_ENFORCE_LIMITS: jobs can't be held to their limits here: {why}. It takes a cgroup (version 2) "
            "that is the server's own, with the controllers memory, pids and cpu: with systemd, Delegate=yes"
        )


def _usable_gpus(settings: Settings, environment: Mapping[str, str]) -> list[Gpu]:
    """Those that were declared, or those that are found."""
    if settings.gpus is None:
        return machine.found_gpus(environment.get("CUDA_VISIBLE_DEVICES"))
    return [Gpu(gpu.index, gpu.memory >> 20) for gpu in settings.gpus]


def _context(parts: Parts) -> Context:
    settings = parts.settings
    return Context(
        home=settings.home,
        allowed_paths=settings.allowed_paths,
        trusted_models=settings.trusted_models,
        outbound=Outbound(settings.outbound_hosts),
        each_user={
            Quota.WAITING: settings.max_waiting,
            Quota.RUNNING: settings.max_running_per_user,
            Quota.GPUS: settings.max_gpus_per_user,
        },
        upload_limit=settings.upload_limit,
        check_memory=settings.check_memory,
        preview_seconds=settings.preview_seconds,
        min_free=settings.min_free,
        retention=Policy(
            settings.keep_completed_days,
            settings.keep_failed_days,
            settings.keep_logs_days,
            settings.keep_checkpoints_days,
            settings.cache_limit,
        ),
        trainer_environment=None if settings.tenant_users else parts.trainer_environment,
        private_key=private_key(settings.home),
    )


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)
