"""Processes of this machine, told apart from strangers that were given the same number later."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from runyard.executors import launcher, wrapper

_PREFIX = f"{launcher.NONCE_VARIABLE}=".encode()


@dataclass(frozen=True)
class Process:
    """One process for all time: number, start in clock ticks since boot, which boot, and what we left in its
    environment, for two that had the same number within one tick."""

    pid: int
    start_ticks: int
    boot_id: str
    nonce: str | None

    @classmethod
    def of(cls, record: dict[str, Any], which: str) -> Self:
        """The wrapper or the trainer in the content of a process.json."""
        nonce = record["nonce"] if which == "wrapper" else None  # a trainer may write over its environment
        return cls(record[which]["pid"], record[which]["start_ticks"], record["boot_id"], nonce)

    @contextmanager
    def handle(self) -> Iterator[int | None]:
        """A pidfd while the process runs, else None. Raises PermissionError.

        It is opened before the comparison: whatever becomes of the number then, signals reach this process or none.
        """
        pidfd = None
        if self.boot_id == wrapper.boot_id():
            try:
                pidfd = os.pidfd_open(self.pid)
            except ProcessLookupError:
                pidfd = None
        try:
            yield pidfd if pidfd is not None and self._is_running() else None
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def is_alive(self) -> bool:
        with self.handle() as pidfd:
            return pidfd is not None

    def send(self, number: signal.Signals) -> bool:
        """False if it is gone."""
        with self.handle() as pidfd:
            return pidfd is not None and _send(pidfd, number)

    def wait(self, seconds: float, parent: int | None) -> None:
        """Until nothing of it is left; a zombie only counts while it has this parent, who collects it."""
        give_up = time.monotonic() + seconds
        while (fields := wrapper.stat_fields(self.pid)) and time.monotonic() < give_up:
            if int(fields[19]) != self.start_ticks or (fields[0] == "Z" and int(fields[1]) != parent):
                return
            time.sleep(0.001)

    def _is_running(self) -> bool:
        fields = wrapper.stat_fields(self.pid)
        if fields is None or fields[0] in "ZX" or int(fields[19]) != self.start_ticks:
            return False
        return self.nonce is None or has_nonce(self.pid, self.nonce)


def with_nonce(nonce: str) -> list[int]:
    """Every process of this user that has the nonce in its environment."""
    return [pid for pid, found in nonces().items() if found == nonce]


def nonces() -> dict[int, str]:
    """What was left in the environment of each process that we started, and of what those started."""
    found = {}
    for pid in _pids():
        with suppress(PermissionError):  # another user's
            if (nonce := nonce_of(pid)) is not None:
                found[pid] = nonce
    return found


def kill_with_nonce(nonce: str, spare: int | None = None) -> None:
    """Kill every process that has the nonce in its environment, except one."""
    for pid in _pids():
        if pid == spare or pid == os.getpid():
            continue
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        with suppress(PermissionError):  # another user's
            if has_nonce(pid, nonce):
                _send(pidfd, signal.SIGKILL)
        os.close(pidfd)


def has_nonce(pid: int, nonce: str) -> bool:
    """Raises PermissionError where the environment may not be read."""
    return nonce_of(pid) == nonce


def nonce_of(pid: int) -> str | None:
    """Raises PermissionError where the environment may not be read."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    values = (entry.removeprefix(_PREFIX) for entry in environment.split(b"\0") if entry.startswith(_PREFIX))
    return next((value.decode(errors="replace") for value in values), None)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _send(pidfd: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True
