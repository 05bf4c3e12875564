"""The server's side of the launcher: starts it, asks it for wrappers, and replaces it when it dies or hangs."""

import json
import os
import signal
import socket
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from runyard.executors import launcher, wrapper
from runyard.executors.processes import Process

ANSWER_SECONDS = 5.0
DEATH_SECONDS = 5.0
COMMAND = [sys.executable, "-S", "-E", "-P", launcher.__file__, launcher.BLANK]


class LauncherError(Exception):
    """The launcher was lost, and ended: what was asked for may have been done or not. The attempt's lock tells."""


class LauncherGoneError(LauncherError):
    """It had died, perhaps long ago; the next is as good as new."""


class Launching:
    """One launcher at a time, started when it is needed; it ends with this object, or with its process.

    `environ` is what the wrappers get. Not for two threads at once.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {**environ, launcher.SPACE_VARIABLE: launcher.SPACE}
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def fork(self, nonce: str, folder: Path, *descriptors: int) -> Process:
        """A wrapper for an attempt, which inherits the lock. Raises OSError when there can be none, LauncherError.

        `descriptors` are the lock, the wrapper's log, and that of `in_memory` if the trainer has secrets.
        """
        request = f"{nonce} {folder}".encode()
        self._child = self._child or Child.start(self._environ)
        try:
            answer = self._child.ask(request, *descriptors)
        except OSError as error:
            self._child.end()
            self._child = None
            lost = LauncherError if isinstance(error, TimeoutError) else LauncherGoneError
            raise lost(f"the launcher was lost: {error}") from error
        if (number := answer.get("errno")) is not None:
            raise OSError(number, os.strerror(number))
        return Process(answer["pid"], answer["start_ticks"], wrapper.boot_id(), None)


class Child:
    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid, self._control = pid, control
        self._is_ready = False
        self.end = weakref.finalize(self, _end, pid, control)

    @classmethod
    def start(cls, environ: Mapping[str, str]) -> Self:
        """In a session of its own, so that what a terminal sends to the server does not reach it."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            actions = [
                (os.POSIX_SPAWN_DUP2, its.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ]
            try:
                return cls(os.posix_spawn(COMMAND[0], COMMAND, environ, file_actions=actions, setsid=True), ours)
            except OSError:
                ours.close()
                raise

    def ask(self, request: bytes, *descriptors: int) -> dict[str, int]:
        self._control.settimeout(ANSWER_SECONDS)
        if not self._is_ready:  # frozen until then, it would keep what we send it, the lock, even when we are gone
            self._receive()
            self._is_ready = True
        socket.send_fds(self._control, [request], descriptors)
        content: dict[str, int] = json.loads(self._receive())
        return content

    def _receive(self) -> bytes:
        if not (message := self._control.recv(launcher.MOST_BYTES)):
            raise ConnectionResetError("it has ended")
        return message


@contextmanager
def in_memory(secrets: Mapping[str, str]) -> Iterator[list[int]]:
    """The descriptor of a file that is on no disk and has no name; none where there is nothing to be kept secret."""
    if not secrets:
        yield []
        return
    with open(os.memfd_create("runyard"), "w+b") as file:
        file.write(json.dumps(dict(secrets)).encode())
        file.seek(0)
        yield [file.fileno()]


def _end(pid: int, control: socket.socket) -> None:
    """Nothing is done on our behalf any more once this has come back."""
    control.close()
    give_up = time.monotonic() + DEATH_SECONDS
    with suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < give_up:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
