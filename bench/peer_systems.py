"""The peers, each set up as its manual says; versions are those of the virtual environment."""

import json
import subprocess
import threading
from abc import abstractmethod
from contextlib import suppress
from typing import Any

import psutil

from bench.peer_sides import Order, Place, Side, Told, descendants
from bench.peer_venv import ROOT
from runyard.testing.live import free_port


class Peer(Side):
    """Its client runs in the peers' virtual environment and takes orders as JSON lines."""

    package: str

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.address = ""
        self._client: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """What is started as the service: one worker or several."""

    def prepare(self) -> None:
        command = [self.program("python"), "-m", f"bench.peer_drivers.{self.package}"]
        with (self.folder / "client.log").open("ab") as log:
            self._client = subprocess.Popen(
                command, env=self.environment(), cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        self._started = [self.launch(command) for command in self.commands()]

    def submit(self, orders: list[Order]) -> tuple[float, list[str]]:
        answer = self._ask({"submit": orders})
        return answer["began"] / 1e9, answer["ids"]

    def told(self, job_id: str) -> Told:
        return Told(**self._ask({"told": job_id}))

    def service(self) -> list[psutil.Process]:
        return [psutil.Process(process.pid) for process in self._started if process.poll() is None]

    def version(self) -> str:
        return self.place.venv.version(self.package)

    def program(self, name: str) -> str:
        return self.place.venv.program(name)

    def environment(self) -> dict[str, str]:
        own = {"PEER_FOLDER": str(self.folder), "PEER_STORE": self.address, "PEER_MARK": self.mark}
        return self.place.venv.environment(own)

    def launch(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / "service.log").open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def everything(self) -> list[psutil.Process]:
        return [process for process in super().everything() if self._client is None or process.pid != self._client.pid]

    def close(self) -> None:
        super().close()
        if self._client is not None:
            self._client.kill()
            self._client.communicate()

    def _ask(self, order: object) -> dict[str, Any]:
        assert self._client is not None
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps(order) + "\n")
        self._client.stdin.flush()
        if not (line := self._client.stdout.readline()):
            raise RuntimeError(f"{self.name}: {(self.folder / 'client.log').read_text()[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        return found


class Huey(Peer):
    name, package = "huey", "huey"
    note = "SQLite, threads; as it comes: it looks every 0.1 s, after idleness as rarely as every 10 s"
    options: tuple[str, ...] = ()

    def commands(self) -> list[list[str]]:
        consumer = [self.program("huey_consumer"), "bench.peer_drivers.huey.queue", "-w", str(self.place.slots)]
        return [[*consumer, *self.options]]


class HueyOften(Huey):
    name = "huey, looking every 10 ms"
    note = "the same with `-d 0.01 -m 0.01`"
    options = ("-d", "0.01", "-m", "0.01")


class Procrastinate(Peer):
    name, package = "procrastinate", "procrastinate"
    note = "PostgreSQL, woken by NOTIFY, as it comes"

    def prepare(self) -> None:
        database = f"peer_{self.mark}"
        self.place.postgres.psql(f"CREATE DATABASE {database};")
        self.address = self.place.postgres.get_uri(database)
        schema = [*self._program(), "schema", "--apply"]
        subprocess.run(schema, env=self.environment(), cwd=ROOT, check=True, capture_output=True)
        super().prepare()

    def commands(self) -> list[list[str]]:
        return [[*self._program(), "worker", "--concurrency", str(self.place.slots)]]

    def store(self) -> list[psutil.Process]:
        server = psutil.Process(self.place.postgres.get_pid())
        return [server, *descendants(server)]

    def _program(self) -> list[str]:
        return [self.program("procrastinate"), "--app=bench.peer_drivers.procrastinate.app"]


class ProcrastinateRescue(Procrastinate):
    name = "procrastinate, retrying stalled jobs"
    note = "the same with the retry of stalled jobs from its manual, every 10 s"

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PEER_RESCUE": "1"}


class Redis:
    """A server of its own, which is not what crashes."""

    def __init__(self, place: Place) -> None:
        self.port = free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(place.folder)]
        with (place.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [place.venv.redis_server(), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class WithRedis(Peer):
    redis: Redis

    def prepare(self) -> None:
        self.redis = Redis(self.place)
        self.address = f"redis://127.0.0.1:{self.redis.port}/0"
        super().prepare()

    def store(self) -> list[psutil.Process]:
        return [psutil.Process(self.redis.process.pid)]

    def close(self) -> None:
        super().close()
        self.redis.close()


class Rq(WithRedis):
    name, package = "RQ", "rq"
    note = "Redis, a worker for each slot that forks for every job, as it comes"

    def commands(self) -> list[list[str]]:
        return [[self.program("rq"), "worker", "--url", self.address]] * self.place.slots


class Celery(WithRedis):
    name, package = "Celery", "celery"
    note = "Redis, prefork; acknowledges late, gives back what a lost worker had, prefetches one"

    def commands(self) -> list[list[str]]:
        worker = ["-A", "bench.peer_drivers.celery", "worker", "--concurrency", str(self.place.slots)]
        return [[self.program("celery"), *worker]]


class Submitit(Peer):
    name, package = "submitit", "submitit"
    note = "local executor; no queue: everything starts at once. What crashes is the program that submitted"

    def commands(self) -> list[list[str]]:
        return []

    def start(self) -> None:
        if self._client is None or self._client.poll() is not None:
            super().prepare()

    def prepare(self) -> None:
        """The client is the service."""

    def service(self) -> list[psutil.Process]:
        gone = self._client is None or self._client.poll() is not None
        return [] if gone or self._client is None else [psutil.Process(self._client.pid)]

    def everything(self) -> list[psutil.Process]:
        return [*super().everything(), *self.service()]


class Ray(Peer):
    name, package = "Ray Jobs", "ray"
    note = "a head on this machine (its daemons listen on every address), a CPU for each slot, one for each job"
    _starting = threading.Lock()

    def prepare(self) -> None:
        self._ports = {name: free_port() for name in ("port", "dashboard-port", "ray-client-server-port")}
        self._ports |= {name: free_port() for name in ("dashboard-agent-listen-port", "node-manager-port")}
        self.address = f"http://127.0.0.1:{self._ports['dashboard-port']}"
        super().prepare()

    def commands(self) -> list[list[str]]:
        ports = [f"--{name}={port}" for name, port in self._ports.items()]
        own = ["--head", "--node-ip-address=127.0.0.1", f"--num-cpus={self.place.slots}", "--disable-usage-stats"]
        return [[self.program("ray"), "start", *own, *ports, f"--temp-dir={self.folder / 'ray'}"]]

    def start(self) -> None:
        """`ray start` leaves its daemons behind and ends; it gives up after half a minute, so never two at a time."""
        with self._starting:
            super().start()
            failed = any(process.wait() for process in self._started)
        if failed:
            raise RuntimeError(f"{self.name}: {(self.folder / 'service.log').read_text()[-500:]}")

    def service(self) -> list[psutil.Process]:
        """The head's daemons, not its workers: a job's supervisor is one of those."""
        found = {process: _title(process) for process in self.everything()}
        workers = [process for process, title in found.items() if title.startswith("ray::")]
        spared = {*workers, *(child for worker in workers for child in descendants(worker))}
        return [process for process in found if process not in spared]


class RayWithRedis(Ray):
    name = "Ray Jobs, its state in Redis"
    note = "the same with Redis for fault tolerance of the head"

    redis: Redis

    def prepare(self) -> None:
        self.redis = Redis(self.place)
        super().prepare()

    def environment(self) -> dict[str, str]:
        return super().environment() | {"RAY_REDIS_ADDRESS": f"127.0.0.1:{self.redis.port}"}

    def close(self) -> None:
        super().close()
        self.redis.close()


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
