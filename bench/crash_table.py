"""What becomes of a running job when its server, its own process or both are killed: Runyard beside its peers.

`--venv=FOLDER` names a virtual environment with the peers; else one is made in .bench.
"""

import itertools
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import peer_venv
from bench.peer_sides import FAILURES, Place, Runyard, Side, Told, end_in_order, kill
from bench.peer_systems import Celery, Huey, Procrastinate, ProcrastinateRescue, Ray, RayWithRedis, Rq, Submitit
from bench.postgres import postgres
from bench.result import Result

SIDES: list[type[Side]] = [Runyard, Submitit, Ray, RayWithRedis, Procrastinate, ProcrastinateRescue, Huey, Rq, Celery]
SCRIPT = Path(__file__).parent / "peer_drivers" / "ticking.py"
DOWN_SECONDS, LIMIT_SECONDS, LINGER_SECONDS, START_SECONDS = 3, 60, 3, 60
POLL_SECONDS = 0.1
AT_ONCE = 6


@dataclass(frozen=True)
class Case:
    """`victims` are killed once the job has written two lines; the service is then started again."""

    name: str
    seconds: int
    exit_code: int
    victims: str = ""
    back_after_end: bool = False


CASES = [
    Case("undisturbed, exits with 7", 3, 7),
    Case("server or worker killed", 20, 0, "service"),
    Case("the same, and the job exits with 7 meanwhile", 6, 7, "service", back_after_end=True),
    Case("the job's process killed", 20, 0, "job"),
    Case("everything killed", 20, 0, "everything"),
]


@dataclass(frozen=True)
class Run:
    """One process that ran the script, by the times that it wrote."""

    pid: int
    first: float
    last: float


@dataclass(frozen=True)
class Seen:
    """`seconds` is from when the end could be known until it was told; None if it was not within the limit."""

    runs: list[Run]
    told: Told
    meanwhile: Told | None
    """The last that was told while a process ran and the service was there again."""
    seconds: float | None
    early: bool = False
    """An end was told while a process still ran."""


options = peer_venv.options


def run(venv: Path | None = None, only: list[str] | None = None) -> Result:
    end_in_order()
    sides = [side for side in SIDES if not only or side.name in only]
    peers = peer_venv.prepare(venv)
    pairs = list(itertools.product(CASES, sides))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, postgres() as database:
        made = [make(Place(Path(folder, str(n)), 1, peers, database)) for n, (_, make) in enumerate(pairs)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            seen = list(pool.map(watch, made, [case for case, _ in pairs]))
        names = {side.name: f"{side.name} ({side.version()})" for side in made[: len(sides)]}
    found = {(side.name, case): what for (case, side), what in zip(pairs, seen, strict=True)}
    return result(names, [side.note for side in sides], found)


def watch(side: Side, case: Case) -> Seen | str:
    """What was seen, or why nothing was."""
    try:
        side.prepare()
        side.start()
        return follow(side, case)
    except FAILURES as error:
        print(f"{side.name}, {case.name}: {error}", file=sys.stderr)
        return type(error).__name__
    finally:
        side.close()
        print(f"{side.name}, {case.name}: over", file=sys.stderr, flush=True)


def follow(side: Side, case: Case) -> Seen:
    folder = side.folder / "job"
    folder.mkdir()
    command = [sys.executable, "-S", "-E", str(SCRIPT), str(folder), str(case.seconds), str(case.exit_code)]
    _, (job_id,) = side.submit([(command, str(folder))])
    first = await_first(folder)
    return settle(side, job_id, folder, strike(side, case, first))


def await_first(folder: Path) -> psutil.Process:
    deadline = time.monotonic() + START_SECONDS
    while not (found := runs(folder)) or found[0].last == found[0].first:
        if time.monotonic() > deadline:
            raise TimeoutError("the job did not start")
        time.sleep(POLL_SECONDS)
    return psutil.Process(found[0].pid)


def strike(side: Side, case: Case, job: psutil.Process) -> float:
    """From when what follows could be known: from the kill, or from the new start of the service."""
    if not case.victims:
        return 0
    if case.victims == "job":
        kill([job])
        return time.time()
    kill(side.everything() if case.victims == "everything" else side.service())
    if case.back_after_end:
        psutil.wait_procs([job], timeout=2 * case.seconds)
    time.sleep(DOWN_SECONDS)
    back = time.time()
    side.start()
    return back


def settle(side: Side, job_id: str, folder: Path, since: float) -> Seen:
    """Until an end was told and stayed so, or nothing was told for so long after it could be."""
    ended, early, meanwhile = None, False, None
    while True:
        told, now, found = side.told(job_id), time.time(), runs(folder)
        running = any(alive(run) for run in found)
        meanwhile = told if running else meanwhile
        known = max(since, *(run.last for run in found))
        if told.state not in ("done", "failed"):
            ended = None
        elif ended is None:
            ended, early = now, early or running
        if ended is not None and not running and now - ended > LINGER_SECONDS:
            return Seen(found, told, meanwhile, max(0.0, ended - known), early)
        if ended is None and not running and now - known > LIMIT_SECONDS:
            return Seen(found, told, meanwhile, None, early)
        time.sleep(POLL_SECONDS)


def runs(folder: Path) -> list[Run]:
    found = []
    for path in folder.glob("*.run"):
        if times := [float(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]:
            found.append(Run(int(path.stem), times[0], times[-1]))
    return sorted(found, key=lambda run: run.first)


def alive(run: Run) -> bool:
    try:
        process = psutil.Process(run.pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - run.first) < 5
    except psutil.NoSuchProcess:
        return False


def at_once(seen: Seen) -> bool:
    return any(later.first < earlier.last for earlier, later in itertools.pairwise(seen.runs))


def kept(case: Case, seen: Seen) -> bool:
    """The first process came to its own end."""
    return seen.runs[0].last - seen.runs[0].first > case.seconds - 0.5


def denied(case: Case, seen: Seen) -> bool:
    """The service is back, the job runs, and the service does not say so."""
    return case.victims == "service" and seen.meanwhile is not None and seen.meanwhile.state != "running"


def right(case: Case, seen: Seen) -> bool:
    """What was told is true, a killed run may be tried again, and nothing ran twice without need."""
    if seen.seconds is None or seen.early or at_once(seen) or denied(case, seen):
        return False
    if kept(case, seen):
        return len(seen.runs) == 1 and seen.told.state == ("failed" if case.exit_code else "done")
    return seen.told.state == "failed" or (len(seen.runs) > 1 and seen.told.state == "done")


def words(case: Case, seen: Seen) -> str:
    count = len(seen.runs)
    parts = []
    if case.victims == "service":
        parts.append("went on" if kept(case, seen) else "died with it")
    if count > 1:
        parts.append(f"ran {count} times{' at once' if at_once(seen) else ''}")
    if seen.early:
        parts.append("an end was told while it ran")
    if denied(case, seen) and seen.meanwhile:
        parts.append(f"“{seen.meanwhile.says}” while it ran")
    code = f", exit code {seen.told.exit_code}" if seen.told.exit_code else ""
    if seen.seconds is None:
        parts.append(f"“{seen.told.says}” {LIMIT_SECONDS} s later")
    else:
        parts.append(f"{seen.told.state}{code} after {seen.seconds:.1f} s")
    return "; ".join(parts)


def result(names: dict[str, str], notes: list[str], found: dict[tuple[str, Case], Seen | str]) -> Result:
    score = {name: sum(isinstance(s := found[name, case], Seen) and right(case, s) for case in CASES) for name in names}
    rows = "\n".join(
        f"| {title} | {' | '.join(cell(case, found[name, case]) for case in CASES)} |" for name, title in names.items()
    )
    setups = "; ".join(f"{name}: {note}" for name, note in zip(names, notes, strict=True))
    return Result(
        name="a crash, beside peers",
        promise=f"all {len(CASES)} cases: what is told is true, a running job goes on, nothing runs twice at once",
        found=", ".join(f"{name} {count}" for name, count in score.items()),
        detail=(
            f"A job of {CASES[1].seconds} s writes a line a second; after two lines `kill -9` strikes, and"
            f" {DOWN_SECONDS} s later the service is started again. What is told and how often the script ran is seen"
            f" for as long as it runs and {LIMIT_SECONDS} s more; seconds count from when the end could be known: the"
            " job's end, the kill of it, or the new start of the service, whichever came last. ✓: what is told is true,"
            " in the end and while the job runs on, and nothing ran twice without need. Every cell is measured, each on"
            f" a service of its own, at most {AT_ONCE} side by side. Set up: {setups}."
            " `python -m bench crash_table` runs it again.\n\n"
            f"| | {' | '.join(case.name for case in CASES)} |\n| --- |{' --- |' * len(CASES)}\n{rows}"
        ),
        holds=score.get("Runyard") == len(CASES) and goes_on(found),
    )


def goes_on(found: dict[tuple[str, Case], Seen | str]) -> bool:
    ours = [(case, found["Runyard", case]) for case in CASES if case.victims == "service"]
    return all(isinstance(seen, Seen) and kept(case, seen) for case, seen in ours)


def cell(case: Case, seen: Seen | str) -> str:
    return (
        f"not measured: {seen}" if isinstance(seen, str) else f"{'✓' if right(case, seen) else '✗'} {words(case, seen)}"
    )
