"""What a trainer is held to, from before its program begins. Standard library only, and no import of ours: its wrapper
loads this file alone."""

from __future__ import annotations

import ctypes
import os
import resource

PR_SET_NO_NEW_PRIVS = 38
MOST_FILES = 1 << 16
WHERE_THERE = ("memory.swap.max", "memory.oom.group")
"""Some kernels have no account of swap, and older ones end one process of a cgroup alone."""


def limit_everybody() -> None:
    """No memory image of it is left on the disk, with what was secret in it; and data loaders need many files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def limit(cgroup: str, limits: dict[str, str]) -> str | None:
    """Write limits into the files of a cgroup that are named so; if one can't be, why."""
    for name, value in limits.items():
        try:
            with open(f"{cgroup}/{name}", "r+") as file:
                file.write(value)
        except FileNotFoundError as error:
            if name not in WHERE_THERE:
                return str(error)
        except OSError as error:
            return str(error)
    return None


def give_logs(user: dict[str, int]) -> None:
    """A program that opens /dev/stderr opens the file behind it."""
    for number in (1, 2):
        os.fchown(number, user["uid"], -1)


def become(user: dict[str, int]) -> None:
    """From root to a system user, for good: no program that it starts can become more."""
    os.setgroups([])
    os.setresgid(user["gid"], user["gid"], user["gid"])
    os.setresuid(user["uid"], user["uid"], user["uid"])
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel has no PR_SET_NO_NEW_PRIVS")
