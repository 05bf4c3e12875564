"""Who uses a data folder: one server, or several processes that share a PostgreSQL; and where the server answers."""

import fcntl
import json
import os
import secrets
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from runyard.protocol.rundir import write_atomically

FOLDERS = ("runs", "datasets", "models", "cache")
PRIVATE, PASSED, SEEN = 0o700, 0o711, 0o755
KEY_BYTES = 32
PATIENCE_SECONDS = 5.0
"""For one that shares the folder and is just starting."""


class TakenError(RuntimeError):
    """Another server uses the data folder, or nobody can."""


class Instance:
    """Holds the data folder while it is entered; the system lets go of it when the process dies, however it dies.

    With `shared`, others that share it may hold it, too; `passed` is for `make_private`. Raises TakenError, naming the
    server that has it, or saying why the folder can't be used.
    """

    def __init__(self, home: Path, *, shared: bool = False, passed: bool | None = None) -> None:
        self._home, self._shared, self._passed = home, shared, passed
        self._address = home / "server.json"
        self.id = ""
        """What tells the data folder from all others, wherever it is moved."""

    def __enter__(self) -> Self:
        try:
            make_private(self._home, self._passed)
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


def private_key(home: Path) -> bytes:
    """The secret of this installation, made at its first start; for its owner's eyes alone."""
    path = home / "secret.key"
    with suppress(FileExistsError):
        # Complete before it has its name: a start that breaks off leaves none, or a whole one.
        write_once(path, secrets.token_bytes(KEY_BYTES))
    return path.read_bytes()


def write_once(path: Path, content: bytes) -> None:
    """Raises FileExistsError."""
    # By chance, not by process: two containers on one folder may both be process 1.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def make_private(home: Path, passed: bool | None = False) -> None:
    """Make the data folder and its parts, for the owner alone; or so that other users who know what is theirs get
    there, and see the models. None leaves it to the server that was there last."""
    home.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    if passed is not None or stat.S_IMODE(home.stat().st_mode) != PASSED:
        home.chmod(PASSED if passed else PRIVATE)
    for name in FOLDERS:
        folder = home / name
        folder.mkdir(mode=PRIVATE, exist_ok=True)
        if passed and not folder.is_symlink():
            folder.chmod(SEEN if name == "models" else PASSED)


def _forget_broken_uploads(home: Path) -> None:
    for folder in (home / "datasets").glob(".incoming-*"):
        shutil.rmtree(folder, ignore_errors=True)
