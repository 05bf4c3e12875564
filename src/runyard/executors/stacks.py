"""What the processes of an attempt are doing, written down for people."""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runyard.executors import wrapper
from runyard.protocol import stacks

QUIET_SECONDS, ANSWER_SECONDS = 0.2, 2.0
"""An answer is over when it has begun and nothing more is written for the first; none is waited for longer than the
second."""
ALL_SECONDS = 30.0
"""After so long, no more processes are asked."""
MOST_PROCESSES, MOST_THREADS = 64, 64
TICKS = os.sysconf("SC_CLK_TCK")


def dump(file: Path, members: Callable[[], Sequence[int]]) -> bool:
    """Facts about each process, then the stacks of those that know how to tell them; False if there is none."""
    pids = members()[:MOST_PROCESSES]
    with file.open("a") as output:
        for pid in pids:
            output.writelines(f"{line}\n" for line in _facts(pid))
    give_up = time.monotonic() + ALL_SECONDS
    for pid in pids:
        if time.monotonic() < give_up:
            _ask(pid, file, members)
    return bool(pids)


def _ask(pid: int, file: Path, members: Callable[[], Sequence[int]]) -> None:
    """One after the other, since their lines would mix."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # Looked at again once the number is held fast; one that does not catch the signal would be ended by it.
        if pid not in members() or not _catches(pid):
            return
        with file.open("a") as output:
            output.write(f"\nstacks of process {pid}\n")
        signal.pidfd_send_signal(pidfd, stacks.SIGNAL)
        _wait_for_quiet(file)
    except OSError:
        return
    finally:
        os.close(pidfd)


def _catches(pid: int) -> bool:
    caught = int(_status(pid).get("SigCgt", "0"), 16)
    return bool(caught >> (stacks.SIGNAL - 1) & 1)


def _wait_for_quiet(file: Path) -> None:
    give_up = time.monotonic() + ANSWER_SECONDS
    size, grew = file.stat().st_size, math.inf
    while (now := time.monotonic()) < give_up and now - grew < QUIET_SECONDS:
        time.sleep(0.02)
        if (grown := file.stat().st_size) != size:
            size, grew = grown, now


def _facts(pid: int) -> Iterator[str]:
    status = _status(pid)
    if not status:
        return
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    yield f"process {pid}, child of {status.get('PPid')}, {status.get('VmRSS', 'no memory')}: {command}"
    for thread in sorted(_names(f"/proc/{pid}/task"), key=int)[:MOST_THREADS]:
        folder = f"/proc/{pid}/task/{thread}"
        fields = wrapper.stat_fields(int(thread))
        if fields is None:
            continue
        seconds = (int(fields[11]) + int(fields[12])) / TICKS
        place = _read(f"{folder}/wchan").strip("0\n") or "nothing"
        name = _read(f"{folder}/comm").strip()
        yield f"  thread {thread} {name!r}: state {fields[0]}, {seconds:.1f} s of CPU, waits in {place}"


def _status(pid: int) -> dict[str, str]:
    lines = _read(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
