"""One server for one data folder: who has it, and where it answers."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from runyard.protocol.rundir import write_atomically

FOLDERS = ("runs", "datasets", "models", "cache")


class TakenError(RuntimeError):
    """Another server uses the data folder."""


class Instance:
    """Holds the data folder while it is entered; the system lets go of it when the process dies, however it dies.

    Raises TakenError, naming the server that has it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._address = home / "server.json"

    def __enter__(self) -> Self:
        make_private(self._home)
        self._lock = (self._home / "server.lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise TakenError(f"{self._home} is used by another server{self._who()}") from None
        self._address.unlink(missing_ok=True)  # of a server that was killed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._address.unlink(missing_ok=True)
        self._lock.close()

    def announce(self, url: str) -> None:
        """Write down where the server answers, for programs of the same user."""
        write_atomically(self._address, json.dumps({"url": url, "pid": os.getpid()}), durable=False)

    def _who(self) -> str:
        try:
            known = json.loads(self._address.read_bytes())
            return f": process {known['pid']} at {known['url']}"
        except (OSError, ValueError, KeyError):
            return ", which is starting"


def make_private(home: Path) -> None:
    """Make the data folder and its parts, for the owner alone."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    for name in FOLDERS:
        (home / name).mkdir(mode=0o700, exist_ok=True)
