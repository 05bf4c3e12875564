"""Who uses a data folder: one server, or several processes that share a PostgreSQL; and where the server answers."""

import fcntl
import json
import os
import secrets
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from runyard.protocol.rundir import write_atomically

FOLDERS = ("runs", "datasets", "models", "cache")
PATIENCE_SECONDS = 5.0
"""For one that shares the folder and is just starting."""


class TakenError(RuntimeError):
    """Another server uses the data folder, or nobody can."""


class Instance:
    """Holds the data folder while it is entered; the system lets go of it when the process dies, however it dies.

    With `shared`, others that share it may hold it, too. Raises TakenError, naming the server that has it, or saying
    why the folder can't be used.
    """

    def __init__(self, home: Path, *, shared: bool = False) -> None:
        self._home, self._shared = home, shared
        self._address = home / "server.json"
        self.id = ""
        """What tells the data folder from all others, wherever it is moved."""

    def __enter__(self) -> Self:
        try:
            make_private(self._home)
            self._lock = (self._home / "server.lock").open("ab")
            self._hold()
            self.id = (self._home / "id").read_text()
        except OSError as error:
            raise TakenError(
                f"the data folder {self._home} can't be written: {error.strerror}; choose another with --home"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._known().get("pid") == os.getpid():
            self._address.unlink(missing_ok=True)
        self._lock.close()

    def announce(self, url: str) -> None:
        """Write down where the server answers, for programs of the same user."""
        write_atomically(self._address, json.dumps({"url": url, "pid": os.getpid()}), durable=False)

    def _hold(self) -> None:
        if self._take(fcntl.LOCK_EX):
            self._address.unlink(missing_ok=True)  # of a server that was killed
            _forget_broken_uploads(self._home)
            if not (self._home / "id").exists():
                write_atomically(self._home / "id", secrets.token_hex(6))
            if self._shared:
                fcntl.flock(self._lock, fcntl.LOCK_SH)
        elif not self._shared or not self._joins():
            self._lock.close()
            raise TakenError(f"{self._home} is used by another server{self._who()}")

    def _joins(self) -> bool:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not self._take(fcntl.LOCK_SH):
            if time.monotonic() > give_up:
                return False
            time.sleep(0.1)
        return True

    def _take(self, how: int) -> bool:
        try:
            fcntl.flock(self._lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _who(self) -> str:
        known = self._known()
        return (
            f": process {known['pid']} at {known['url']}" if {"pid", "url"} <= known.keys() else ", which is starting"
        )

    def _known(self) -> dict[str, object]:
        try:
            known = json.loads(self._address.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def make_private(home: Path) -> None:
    """Make the data folder and its parts, for the owner alone."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    for name in FOLDERS:
        (home / name).mkdir(mode=0o700, exist_ok=True)


def _forget_broken_uploads(home: Path) -> None:
    for folder in (home / "datasets").glob(".incoming-*"):
        shutil.rmtree(folder, ignore_errors=True)
