"""System users that run trainers: who they are, and whether this server can run anything as them."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runyard.executors.base import User

NEEDED = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_PTRACE": 19,
}
"""To become another user, give it its folders, read what it wrote, see which processes are its, and end them."""
HARD_LINKS = Path("/proc/sys/fs/protected_hardlinks")
TRY = "import os, sys, runyard\nfor path in sys.argv[1:]: os.stat(path)"
TRY_SECONDS = 30


class UsersError(ValueError):
    """Says which tenant's user can't be used, and why; or what the server lacks."""


def of_tenants(names: Mapping[str, str], home: Path, python: str) -> dict[str, User]:
    """The user of each tenant, with a folder of its own below the data folder. Raises UsersError, also when one can't
    run our programs by this Python."""
    if not names:
        return {}
    _require_power()
    found: dict[str, User] = {}
    for tenant, name in names.items():
        user = _find(tenant, name, home / "cache" / "users")
        for other, taken in found.items():
            if user.uid == taken.uid or user.gid == taken.gid:
                what = "are one user" if user.uid == taken.uid else "have one group"
                raise UsersError(
                    f"{other}={taken.name} and {tenant}={name} {what}: each could read what is the other's"
                )
        found[tenant] = user
    for tenant, user in found.items():
        _make_home(user)
        if why := _fails(user, home, python):
            raise UsersError(
                f"{tenant}={user.name}: this user can't run trainers here: {why}. Every folder above the data folder, "
                f"Python ({python}) and the packages must be open to it (chmod o+x, o+rX)"
            )
    return found


def _require_power() -> None:
    if os.geteuid() != 0:
        raise UsersError("only a server that runs as root can run trainers as other users")
    if missing := list(_missing()):
        raise UsersError(f"the server is root, but lacks {', '.join(missing)}: its container has to be given them")
    if HARD_LINKS.read_text().strip() != "1":
        raise UsersError(
            "any user could make the server's files its own by a hard link: `sysctl fs.protected_hardlinks=1` ends that"
        )


def _missing() -> Iterator[str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return (name for name, bit in NEEDED.items() if not effective >> bit & 1)


def _find(tenant: str, name: str, homes: Path) -> User:
    try:
        known = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        uid, gid = known.pw_uid, known.pw_gid
    except KeyError:
        if not name.isdecimal():
            raise UsersError(
                f"{tenant}={name}: this machine has no user {name}; `useradd --system {name}` makes it"
            ) from None
        uid = gid = int(name)
    if uid == 0 or gid == 0:
        raise UsersError(f"{tenant}={name}: that is root, or in root's group, and may read everything")
    return User(name, uid, gid, homes / str(uid))


def _make_home(user: User) -> None:
    user.home.parent.mkdir(mode=0o711, exist_ok=True)
    user.home.parent.chmod(0o711)
    user.home.mkdir(mode=0o700, exist_ok=True)
    os.chown(user.home, user.uid, user.gid)


def _fails(user: User, home: Path, python: str) -> str | None:
    """Why it can't get to our program, or past the folders above its own."""
    try:
        done = subprocess.run(
            [python, "-P", "-B", "-c", TRY, str(home / "runs"), str(user.home)],
            user=user.uid, group=user.gid, extra_groups=(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=TRY_SECONDS, check=False, env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
