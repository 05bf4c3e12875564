"""A system that takes part, under control: started, given jobs, asked what it knows, killed, started again."""

import os
import platform
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from bench.peer_venv import Venv
from runyard.testing.live import LiveYard

Order = tuple[list[str], str]
"""A command, and the folder where its logs may go."""

FAILURES = (OSError, RuntimeError, AssertionError, subprocess.SubprocessError, psutil.Error)
"""What may go wrong with one side and ends nothing but its turn."""


@dataclass(frozen=True)
class Place:
    """Where a side lives and what it may use; `slots` jobs at once."""

    folder: Path
    slots: int
    venv: Venv
    postgres: Any
    """A server that all share; each has a database of its own."""


@dataclass(frozen=True)
class Told:
    """What a system says of a job: waiting, running, done, failed or unknown; and its own word for that."""

    state: str
    says: str
    exit_code: int | None


class Side(ABC):
    name: str
    note: str
    """How it is set up, for the reader of the table."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder = place, place.folder
        self.mark = uuid4().hex
        self.folder.mkdir(parents=True)

    @abstractmethod
    def prepare(self) -> None:
        """What stands before the service does: a database, a client."""

    @abstractmethod
    def start(self) -> None:
        """The service; again after a kill."""

    @abstractmethod
    def submit(self, orders: list[Order]) -> tuple[float, list[str]]:
        """When the first was handed in, and what each is called."""

    @abstractmethod
    def told(self, job_id: str) -> Told: ...

    @abstractmethod
    def service(self) -> list[psutil.Process]:
        """What a user would say has crashed: the server, or the worker."""

    @abstractmethod
    def version(self) -> str: ...

    def store(self) -> list[psutil.Process]:
        """The database server that it needs beside it."""
        return []

    def everything(self) -> list[psutil.Process]:
        """The service and all that came of it: they bear its mark, name its folder, or are children of such."""
        found = [process for process in psutil.process_iter() if self._is_ours(process)]
        return list({*found, *(child for process in found for child in descendants(process))})

    def close(self) -> None:
        kill(self.everything())

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            if process.pid == os.getpid():
                return False
            named = any(part.startswith(f"{self.folder}/") for part in process.cmdline())
            return named or process.environ().get("PEER_MARK") == self.mark
        return False


class Floor(Side):
    name = "bare subprocess"
    note = "`subprocess.run`, one after another: the floor"

    def prepare(self) -> None: ...

    def start(self) -> None: ...

    def submit(self, orders: list[Order]) -> tuple[float, list[str]]:
        began = time.time()
        for command, folder in orders:
            with Path(folder, "stdout.log").open("ab") as out:
                subprocess.run(command, stdout=out, stderr=out, check=True)
        return began, [folder for _, folder in orders]

    def told(self, job_id: str) -> Told:
        return Told("unknown", "nothing is kept", None)

    def service(self) -> list[psutil.Process]:
        return []

    def version(self) -> str:
        return f"Python {platform.python_version()}"


class Runyard(Side):
    name = "Runyard"
    note = "SQLite, HTTP API; a wrapper and a folder for each job"

    def prepare(self) -> None:
        more = {"RUNYARD_MAX_WAITING": "1000", "RUNYARD_MIN_FREE": "0", "RUNYARD_SLOTS": str(self.place.slots)}
        self.yard = LiveYard(self.folder / "home", more | {"PEER_MARK": self.mark})

    def start(self) -> None:
        self.yard.start()

    def submit(self, orders: list[Order]) -> tuple[float, list[str]]:
        began = time.time()
        specs = [{"kind": "script", "name": "peers", "command": command} for command, _ in orders]
        return began, [self.yard.client.submit(spec).id for spec in specs]

    def told(self, job_id: str) -> Told:
        job = self.yard.client.job(job_id)
        state = {"queued": "waiting", "completed": "done", "failed": "failed"}.get(job.state, "running")
        last = max(job.attempt_history, key=lambda attempt: attempt.number, default=None)
        return Told(state, job.state.value, last.exit_code if last else None)

    def service(self) -> list[psutil.Process]:
        return [psutil.Process(self.yard.pid)]

    def version(self) -> str:
        return version("runyard")

    def close(self) -> None:
        super().close()
        self.yard.client.close()


def end_in_order() -> None:
    """Told to end, we leave as after an error: nothing that was started stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def kill(processes: Iterable[psutil.Process]) -> None:
    """As the kernel does when memory is short: without a word."""
    victims = list(processes)
    for process in victims:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(victims, timeout=10)
