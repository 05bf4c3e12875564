"""Runyard beside its peers: a job's first line after it was submitted, a burst, what the idle service takes.

`--venv=FOLDER` names a virtual environment with the peers; else one is made in .bench.
"""

import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench import peer_venv
from bench.peer_sides import FAILURES, Floor, Place, Runyard, Side, descendants, end_in_order
from bench.peer_systems import Celery, Huey, HueyOften, Procrastinate, Ray, Rq, Submitit
from bench.postgres import postgres
from bench.result import Result
from bench.submissions import fsync_seconds

SIDES: list[type[Side]] = [Floor, Runyard, Submitit, Ray, Procrastinate, Huey, HueyOften, Rq, Celery]
ROUNDS, SLOTS = 2, 4
SINGLES, BURST = 25, 100
FEWER_SINGLES: dict[str, int] = {Ray.name: 12}
SMALLER_BURSTS: dict[str, int] = {Ray.name: 30, Submitit.name: 30}
"""Of those that would take minutes for what the others do in seconds."""
COMPARED = {"Runyard", "submitit", "Ray Jobs"}
PATIENCE_SECONDS = 180
POLL_SECONDS = 0.01
SETTLE_SECONDS = 2


@dataclass
class Found:
    """Times in seconds, memory in bytes."""

    note: str = ""
    version: str = ""
    waits: list[float] = field(default_factory=list)
    up: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    store: list[int] = field(default_factory=list)
    burst: float = 0


options = peer_venv.options


def run(venv: Path | None = None, only: list[str] | None = None) -> Result:
    end_in_order()
    sides = [side for side in SIDES if not only or side.name in only]
    found = {side.name: Found() for side in sides}
    peers = peer_venv.prepare(venv)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, postgres() as database:
        load = os.getloadavg()[0]
        fsync = statistics.median(fsync_seconds(Path(folder)))
        for turn in range(ROUNDS):
            for number, make in enumerate(random.sample(sides, len(sides))):
                side = make(Place(Path(folder, f"{turn}-{number}"), SLOTS, peers, database))
                began = time.monotonic()
                try:
                    measure(side, found[side.name], burst=turn == ROUNDS - 1)
                except FAILURES as error:
                    print(f"{side.name}: {error}", file=sys.stderr)
                finally:
                    side.close()
                print(f"{side.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return result(found, load, fsync)


def measure(side: Side, found: Found, burst: bool) -> None:
    """One turn of one side, with nothing else running."""
    found.note, found.version = side.note, side.version()
    side.prepare()
    began = time.time()
    side.start()
    _, first = submit(side, "first", 1)
    found.up.append(first[0] - began)
    time.sleep(SETTLE_SECONDS)
    found.memory.append(memory(side.service()))
    found.store.append(memory(side.store()))
    for number in range(FEWER_SINGLES.get(side.name, SINGLES)):
        time.sleep(random.uniform(0.2, 0.6))
        submitted, (started,) = submit(side, f"single-{number}", 1)
        found.waits.append(started - submitted)
    if burst:
        crowd = SMALLER_BURSTS.get(side.name, BURST)
        submitted, starts = submit(side, "burst", crowd)
        found.burst = crowd / (max(starts) - submitted)


def submit(side: Side, name: str, count: int) -> tuple[float, list[float]]:
    """When the first was submitted, and when each said its first line."""
    folders = [side.folder / f"{name}-{number}" for number in range(count)]
    for folder in folders:
        folder.mkdir()
    commands = [["sh", "-c", f"date +%s%N > {folder}/started; echo done"] for folder in folders]
    submitted, _ = side.submit([(command, str(folder)) for command, folder in zip(commands, folders, strict=True)])
    return submitted, [started(side, folder) for folder in folders]


def started(side: Side, folder: Path) -> float:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (text := _text(folder / "started")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{side.name}: {folder.name} was not started")
        time.sleep(POLL_SECONDS)
    return int(text) / 1e9


def memory(processes: list[psutil.Process]) -> int:
    """What they share is counted once."""
    family = {*processes, *(child for process in processes for child in descendants(process))}
    return sum(process.memory_full_info().pss for process in family)


def result(found: dict[str, Found], load: float, fsync: float) -> Result:
    measured = {name: side for name, side in found.items() if side.burst}
    rows = "\n".join(row(name, side) for name, side in found.items())
    return Result(
        name="start of a job, beside peers",
        promise="first line of the user's script sooner than with submitit and Ray Jobs, a burst faster than Ray Jobs'",
        found="; ".join(
            f"{name} {statistics.median(side.waits) * 1000:.0f} ms, {side.burst:.0f} a second"
            for name, side in measured.items()
            if name in COMPARED
        ),
        detail=(
            f"Each job is a shell line that writes down the time, in a process of its own, its output in a file; one"
            f" machine with {os.cpu_count()} cores, {SLOTS} jobs at once; one side runs at a time, in random order, in"
            f" {ROUNDS} rounds of {SINGLES} single submissions{_fewer(FEWER_SINGLES)} at random gaps of 0.2 to 0.6 s;"
            f" then one burst of {BURST}{_fewer(SMALLER_BURSTS)}, from the first submission to the last start. Queues"
            f" of Python functions get a task that starts the script. From nothing: from the start of the service to"
            f" the first line of a first job. Memory: of the idle service, shared pages counted once, its database"
            f" server apart. Load before {load:.1f}; fsync on this disk takes {fsync * 1000:.1f} ms."
            f" `python -m bench peers` runs it again.\n\n"
            f"| | p50 ms | p95 | most | burst a second | from nothing s | memory MB | set up |\n"
            f"| --- | --- | --- | --- | --- | --- | --- | --- |\n{rows}"
        ),
        holds=measured.keys() >= COMPARED and sooner(measured),
    )


def sooner(measured: dict[str, Found]) -> bool:
    """Runyard than each of the others, at the median; and its burst is over before that of Ray Jobs would be."""
    medians = {name: statistics.median(measured[name].waits) for name in COMPARED}
    return medians["Runyard"] == min(medians.values()) and measured["Runyard"].burst > measured["Ray Jobs"].burst


def row(name: str, side: Found) -> str:
    if not side.burst:
        return f"| {name} ({side.version}) | not measured{' |' * 6} {side.note} |"
    ms = [wait * 1000 for wait in side.waits]
    p50, p95 = statistics.median(ms), statistics.quantiles(ms, n=20, method="inclusive")[18]
    used = f"{statistics.median(side.memory) / 1e6:.0f}" if any(side.memory) else "–"
    if any(side.store):
        used += f" + {statistics.median(side.store) / 1e6:.0f}"
    return (
        f"| {name} ({side.version}) | {p50:.0f} | {p95:.0f} | {max(ms):.0f} | {side.burst:.1f}"
        f" | {statistics.median(side.up):.1f} | {used} | {side.note} |"
    )


def _fewer(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{count} for {name}' for name, count in counts.items())})"


def _text(path: Path) -> str:
    """What a line has been written to in full; else nothing."""
    text = path.read_text() if path.exists() else ""
    return text if text.endswith("\n") else ""
