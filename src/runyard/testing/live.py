"""`runyard serve` as a process of its own, on a free port, with a data folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from runyard.domain.lifecycle import FINAL
from runyard.schemas.jobs import JobDetail
from runyard.sdk.client import Client

POLL_SECONDS = 0.1
TAIL_CHARACTERS = 2000


class LiveYard:
    """A server under control. `environment` is added to our own, `options` to what it is started with."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None, options: Sequence[str] = ()) -> None:
        self.home = home
        self._place = free_place()
        self.port = int(self._place.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.url)
        self.server: subprocess.Popen[bytes] | None = None
        self.program = [sys.executable, "-m", "runyard.cli.main"]
        self._environment = {**os.environ, "RUNYARD_HOME": str(home), "RUNYARD_CACHE": str(home / "cache")}
        self._environment |= environment or {}
        self._options = options
        (home / "models").mkdir(parents=True, mode=0o700, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything, trainers too."""
        self.client.close()
        if self.server is not None and self.server.poll() is None:
            self.kill()
        for process in self.trainers():
            with suppress(psutil.NoSuchProcess):  # it ended by itself
                process.kill()
        self._place.close()

    @property
    def pid(self) -> int:
        assert self.server is not None, "it was not started"
        return self.server.pid

    def start(self) -> None:
        with (self.home / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [*self.program, "serve", "--port", str(self.port), *self._options],
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait_for(self.is_up, "the server to answer")

    def is_up(self) -> bool:
        assert self.server is not None, "it was not started"
        assert self.server.poll() is None, self.tail()
        try:
            return self.client.health().status == "ok"
        except ConnectionError:
            return False

    def kill(self) -> None:
        """As a power cut would, but for the server alone."""
        assert self.server is not None, "it was not started"
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def wait_until(self, job_id: str, condition: Callable[[JobDetail], bool], what: str) -> JobDetail:
        """The job as it was when the condition held; what comes later may not fulfil it any more."""
        seen: list[JobDetail] = []

        def holds() -> bool:
            seen[:] = [self.client.job(job_id)]
            return condition(seen[0])

        self.wait_for(holds, what, 400)
        return seen[0]

    def wait_for_step(self, job_id: str, step: int) -> JobDetail:
        """Until it has trained that far; while data are prepared, the steps of a snapshot are rows."""

        def reached(job: JobDetail) -> bool:
            assert job.state not in FINAL, f"ended too early: {job.state} {job.message}"
            return job.snapshot is not None and job.snapshot.phase == "training" and job.snapshot.step >= step

        return self.wait_until(job_id, reached, f"step {step}")

    def wait_for_end(self, job_id: str) -> JobDetail:
        return self.wait_until(job_id, lambda job: job.state in FINAL, f"the end of job {job_id}")

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.tail()}"
            time.sleep(POLL_SECONDS)

    def tail(self) -> str:
        """The ends of all logs."""
        logs = [self.home / "server.log", *self.home.glob("runs/*/attempts/*/stderr.log")]
        return "\n".join(
            f"{log}:\n{log.read_text(errors='replace')[-TAIL_CHARACTERS:]}" for log in logs if log.exists()
        )

    def trainers(self) -> list[psutil.Process]:
        """Processes that work in a run folder of this yard."""
        runs = str(self.home / "runs")
        processes = psutil.process_iter(["cmdline", "environ"])
        return [
            process
            for process in processes
            if any(part.startswith(runs) for part in process.info["cmdline"] or ())
            or (process.info["environ"] or {}).get("RUNYARD_RUN_DIR", "").startswith(runs)
        ]


def free_port() -> int:
    with free_place() as place:
        return int(place.getsockname()[1])


def free_place() -> socket.socket:
    """A port that nobody else is given while this is open; a server that is told the number can listen there."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place
