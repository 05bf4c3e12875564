"""`python -m bench.chaos --seed N --kills K`: faults at random times, then an audit of what was promised.

Short jobs run while the server, trainers and wrappers are killed, processes are frozen, the disk is filled and files
of events lose their ends. At the end: every job that was accepted is in exactly one final state, each step's metrics
are there exactly once, every exit code is right, each final weight equals that of an undisturbed run, nothing ran twice
at once and no process is left. Prints one JSON line; exit 0 only if all of it holds. A tmpfs of its own (as root) makes
the disk small.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.audit import audit
from bench.faults import Faults
from bench.postgres import SharedFaults, postgres
from bench.workload import Workload
from runyard.testing.live import LiveYard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20, help="faults, counted when they hit something")
    parser.add_argument(
        "--trainings", type=int, default=2, help="jobs that train a tiny language model; others are scripts"
    )
    parser.add_argument(
        "--postgresql", action="store_true", help="on PostgreSQL, which is struck too, with two engines"
    )
    parser.add_argument("--keep", action="store_true", help="leave the data folder for a look")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    with small_disk(root) as disk:
        result = run(root, disk, arguments)
    if not arguments.keep:
        shutil.rmtree(root)
    print(json.dumps(result))
    sys.exit(0 if not result["wrong"] else 1)


def run(root: Path, disk: Path | None, arguments: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    home = (disk or root) / "home"
    environment = {
        "OMP_NUM_THREADS": "1", "RUNYARD_SLOTS": "4", "RUNYARD_MAX_WAITING": "1000", "RUNYARD_RETRY_SECONDS": "0.2",
        "RUNYARD_MIN_FREE": "0", "RUNYARD_ALLOWED_PATHS": str(root),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }  # fmt: skip
    with ExitStack() as stack:
        server = stack.enter_context(postgres()) if arguments.postgresql else None
        if server is not None:
            environment["RUNYARD_DATABASE_URL"] = server.get_uri()
        yard = stack.enter_context(LiveYard(home, environment))
        faults = Faults(yard, random.Random(arguments.seed), disk)
        if server is not None:
            faults = SharedFaults(yard, faults.random, disk, postgres=server, environment=environment)
            stack.callback(faults.stop_standby)
            faults.start_standby()
        work = Workload(root, yard.client, arguments.trainings)
        while sum(faults.done.values()) < arguments.kills:
            work.top_up()
            time.sleep(faults.random.uniform(0.1, 1.0))
            faults.strike()
        wrong = audit(yard, work.jobs, faults.hits)
        left = yard.trainers()
        wrong += [f"left behind: {' '.join(process.cmdline())}" for process in left]
        for process in left:
            process.kill()
    return {
        "seed": arguments.seed, "faults": dict(faults.done), "jobs": len(work.jobs),
        "seconds": round(time.monotonic() - began), "wrong": wrong,
    }  # fmt: skip


@contextmanager
def small_disk(root: Path, megabytes: int = 400) -> Iterator[Path | None]:
    """A small disk of its own, where this user may make one."""
    folder = root / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
    if subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


if __name__ == "__main__":
    main()
