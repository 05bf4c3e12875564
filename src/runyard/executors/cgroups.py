"""Can each job have a cgroup of its own, which ends all of it at once, and holds it to its limits?"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from runyard.executors import wrapper
from runyard.executors.base import Limits

PREFIX = "runyard-"
SLEEPER = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(60)"]


CONTROLLERS = ("memory", "pids", "cpu")
CPU_PERIOD = 100_000  # microseconds


def files(limits: Limits) -> dict[str, str]:
    """What is written where in a cgroup. All of a job ends when it needs more memory: it has no half that works on."""
    found = {"pids.max": str(limits.processes)}
    if limits.memory_bytes is not None:
        found |= {"memory.max": str(limits.memory_bytes), "memory.swap.max": "0", "memory.oom.group": "1"}
    if limits.cpus is not None:
        found["cpu.max"] = f"{max(1000, round(limits.cpus * CPU_PERIOD))} {CPU_PERIOD}"
    return found


def make_way(mounts: Sequence[str] = wrapper.CGROUP_MOUNTS) -> str | None:
    """From now on cgroups of jobs can have limits; if not, why. To be called before anything is launched.

    A cgroup whose parts have limits may have no process itself, so all that is in ours goes into one below it.
    """
    root = next((mount for mount in mounts if Path(mount, "cgroup.procs").exists()), None)
    if root is None:
        return "no cgroup v2 is mounted"
    place = Path(f"{root}{wrapper.place()}")
    try:
        there = (place / "cgroup.controllers").read_text().split()
        if lacking := [name for name in CONTROLLERS if name not in there]:
            return f"{place} has no controller {', '.join(lacking)}"
        servers = place / wrapper.SERVERS
        servers.mkdir(exist_ok=True)
        for pid in (place / "cgroup.procs").read_text().split():
            wrapper.write_quietly(f"{servers}/cgroup.procs", pid)  # one that has just ended needs no place
        (place / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
    except OSError as error:
        return str(error)
    return None


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
    return [Path(f"{mount}{wrapper.place()}") for mount in wrapper.CGROUP_MOUNTS]


def _kill(path: str) -> str | None:
    try:
        Path(path, "cgroup.kill").write_text("1")
    except OSError as error:
        return str(error)
    return None
