"""Can each job have a cgroup of its own, which ends all of it at once?"""

import os
import signal
import sys
from pathlib import Path

from runyard.executors import wrapper

PREFIX = "runyard-"
SLEEPER = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(60)"]


def missing() -> str | None:
    """Why there is none on this machine, found out by using one; None if there is."""
    sleeper = os.posix_spawn(SLEEPER[0], SLEEPER, {})
    try:
        path, error = wrapper.make_cgroup(f"probe-{os.getpid()}")
        if path is not None:
            error = wrapper.put_into(path, sleeper) or _kill(path)
    finally:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)
    if path is not None:
        wrapper.remove_quietly(path)
    return error


def of(nonce: str) -> list[Path]:
    """The cgroups that were made for a launch by anybody with our own place among the cgroups."""
    return [found for place in _places() if (found := place / f"{PREFIX}{nonce}").is_dir()]


def nonces() -> set[str]:
    """Of all launches that have one there."""
    return {found.name.removeprefix(PREFIX) for place in _places() for found in place.glob(f"{PREFIX}*")}


def _places() -> list[Path]:
    return [Path(f"{mount}{wrapper.own_cgroup()}") for mount in wrapper.CGROUP_MOUNTS]


def _kill(path: str) -> str | None:
    try:
        Path(path, "cgroup.kill").write_text("1")
    except OSError as error:
        return str(error)
    return None
