"""Forks wrappers on request: `python -S -E -P launcher.py BLANK`, with a socket to the server as its standard input.

Python and what a wrapper imports are loaded once, so a wrapper costs a fork. A request is `NONCE FOLDER` with two
descriptors, the attempt's lock and the wrapper's log, or a third, of a file in memory with what is the trainer's alone;
the answer is the wrapper's identity, or the error number. It
says READY before the first; from then on it leaves when the server does, and its wrappers live on.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING or __name__ != "__main__":
    from runyard.executors import wrapper
else:
    sys.path.append(os.path.dirname(__file__))
    import wrapper
if TYPE_CHECKING:
    from typing import NoReturn

BLANK = " " * 512
"""Room in its command line, where a wrapper writes the folder of its attempt."""
SPACE_VARIABLE, SPACE = "RUNYARD_SPACE", " " * 128
"""Room in its environment, where a wrapper writes its nonce."""
NONCE_VARIABLE = "RUNYARD_NONCE"
READY = b"ready"
PR_SET_PDEATHSIG = 1
MOST_BYTES = 1 << 16  # of a request


def main() -> None:
    server = socket.socket(fileno=0)
    # A frozen one would not see its socket close. Wrappers do not inherit this.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system collects wrappers that have ended
    gc.freeze()  # what is never looked at again is shared by all wrappers
    server.send(READY)
    while True:
        request, descriptors, _, _ = socket.recv_fds(server, MOST_BYTES, 3)
        if not request:
            return
        nonce, _, folder = request.decode().partition(" ")
        server.send(json.dumps(fork_wrapper(nonce, folder, *descriptors)).encode())


def fork_wrapper(nonce: str, folder: str, lock: int, log: int, secrets: int | None = None) -> dict[str, int | None]:
    try:
        pid = os.fork()
    except OSError as error:
        return {"errno": error.errno}
    else:
        if pid == 0:
            become_wrapper(nonce, folder, lock, log, secrets)
        return wrapper.identity(pid)
    finally:
        for descriptor in (lock, log, secrets):
            if descriptor is not None:
                os.close(descriptor)


def become_wrapper(nonce: str, folder: str, lock: int, log: int, secrets: int | None) -> NoReturn:
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        close_all_but({0, 1, 2, lock, secrets})
        write_name(folder)
        write_nonce(nonce)
        wrapper.main(folder, lock, secrets)
    except BaseException:  # noqa: BLE001 - a forked child must never return to its parent's code
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def close_all_but(kept: set[int | None]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # the one that listed them
                continue


def write_name(folder: str) -> None:
    """The kernel shows these bytes as our command line, and people look there."""
    fields = wrapper.stat_fields(os.getpid())
    start, end = (int(fields[45]), int(fields[46])) if fields else (0, 0)
    name = b"\0".join(os.fsencode(part) for part in (sys.executable, wrapper.__file__, folder))
    if size := end - start:
        ctypes.memmove(start, name[: size - 1].ljust(size, b"\0"), size)


def write_nonce(nonce: str) -> None:
    """The kernel shows the memory in which our environment began, whatever became of it; there we are looked for."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    start = getenv(SPACE_VARIABLE.encode()) - len(f"{SPACE_VARIABLE}=")
    entry, size = f"{NONCE_VARIABLE}={nonce}".encode(), len(f"{SPACE_VARIABLE}={SPACE}")
    if len(entry) > size:
        raise ValueError(f"the nonce {nonce} is too long")
    del os.environ[SPACE_VARIABLE]
    ctypes.memmove(start, entry.ljust(size, b"\0"), size)
    os.environ[NONCE_VARIABLE] = nonce


if __name__ == "__main__":
    main()
