"""The real server as a process of its own, on a free port, with a data folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import runyard
from runyard.schemas.jobs import JobDetail


class Yard:
    """`runyard serve` under a test's control."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = runyard.Client(self.url)
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "RUNYARD_HOME": str(self.home), "RUNYARD_CACHE": str(self.home / "cache")}
        with (self.home / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "runyard.cli.main", "serve", "--port", str(self.port)],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait_for(self.is_up, "the server to answer")

    def is_up(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.home / "server.log").read_text()
        try:
            return self.client.health().status == "ok"
        except ConnectionError:
            return False

    def kill(self) -> None:
        """As a power cut would, but for the server alone."""
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def stop(self) -> None:
        assert self.server is not None
        self.server.terminate()
        assert self.server.wait(timeout=20) == 0

    def wait_until(
        self, job_id: str, condition: Callable[[JobDetail], bool], what: str, seconds: float = 180
    ) -> JobDetail:
        self.wait_for(lambda: condition(self.client.job(job_id)), what, seconds)
        return self.client.job(job_id)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.tail()}"
            time.sleep(0.05)

    def tail(self) -> str:
        logs = [self.home / "server.log", *self.home.glob("runs/*/attempts/*/stderr.log")]
        return "\n".join(f"{log}:\n{log.read_text(errors='replace')[-2000:]}" for log in logs if log.exists())

    def trainers(self) -> list[psutil.Process]:
        """Processes that belong to a job of this yard."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.home / "runs") in part for part in process.info["cmdline"] or ()):
                found.append(process)
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True, mode=0o700)
    yard = Yard(home)
    yard.start()
    yield yard
    yard.client.close()
    if yard.server is not None and yard.server.poll() is None:
        yard.kill()
    for process in yard.trainers():
        process.kill()
