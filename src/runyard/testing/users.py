"""System users for tests that run as root: numbers that belong to nobody, and a Python that is open to them."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

OURS, OTHERS = 64101, 64102
CANDIDATES = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
VERSION = "import sys; print(sys.version_info[:2])"


@cache
def python() -> str | None:
    """A Python like this one that other users may run; this one may lie in somebody's closed home folder."""
    return next((path for path in CANDIDATES if _is_open(path)), None)


def packages() -> str:
    """PYTHONPATH for it: what is installed here, without the standard library, which it brings along."""
    return os.pathsep.join(path for path in sys.path if path and not Path(path).is_relative_to(sys.base_prefix))


def lacking() -> str | None:
    """Why nothing can be run as another user here; None if it can."""
    if os.geteuid() != 0:
        return "only root can run something as another user"
    return None if python() else "no Python of this version that other users may run"


def _is_open(path: str) -> bool:
    try:
        done = subprocess.run(
            [path, "-S", "-E", "-c", VERSION], user=OURS, group=OURS, extra_groups=(), cwd="/", capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    except OSError:
        return False
    return done.stdout.strip() == str(sys.version_info[:2])
