"""A day of many jobs over many GPUs, placed by the real code, against plain first come, first served."""

import argparse
import heapq
import os
import statistics
import time
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from bench.result import Result
from runyard.domain.placement import Gpu, Held, Machine, Start, Waiting
from runyard.domain.placement.plan import fill
from runyard.domain.placement.room import Room

JOBS, GPUS = 1_000_000, 10_000
MOST_SECONDS = 600.0
DAY = 86_400.0
TICK = 10.0
"""Simulated seconds between two looks at the line."""
GPUS_EACH, GPU_MB = 8, 80_000
LOAD = 0.85
"""Of all GPU time of the day; at noon more is asked for than there is."""
USERS = 300
SAVE_SECONDS = 60.0
CLASSES, SHARES = ("urgent", "high", "normal", "low"), (0.01, 0.09, 0.7, 0.2)
SIZES = ((1, 20_000), (1, 40_000), (1, None), (2, None), (4, None), (8, None))
SIZE_SHARES = (0.15, 0.1, 0.5, 0.12, 0.08, 0.05)
LONGEST = 12 * 3600.0


@dataclass(frozen=True)
class Job:
    waiting: Waiting
    lasts: float
    gpus: float
    """In whole GPUs."""


@dataclass
class Outcome:
    """What a day was like."""

    seconds: float = 0.0
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    slowdowns: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    used: float = 0.0
    """GPU seconds within the day."""
    preempted: int = 0
    longest_line: int = 0


def run(jobs: int = JOBS, gpus: int = GPUS, seed: int = 1) -> Result:
    day = make_day(jobs, gpus, seed)
    ours = replay(day, yard(gpus), placed)
    plain = replay(day, yard(gpus), first_come)
    return Result(
        name=f"a day of {jobs:,} jobs over {gpus:,} GPUs",
        promise=f"placed by the real code in under {MOST_SECONDS / 60:.0f} minutes on one core",
        found=f"{ours.seconds:.0f} s",
        detail=(
            f"Synthetic, seed {seed}: {USERS} users of very different appetite, heavy-tailed durations, from a quarter"
            f" of a GPU to {GPUS_EACH}, {LOAD:.0%} of all GPU time asked for, at noon more than there is; a look at the"
            f" line every {TICK:.0f} s. Waits in s (p50/p90/p99): {describe(ours, gpus)}; {ours.preempted:,} times a"
            f" job made room for an urgent one. Strict first come, first served: {describe(plain, gpus)}. Fairness is"
            f" Jain's index over users of their mean slowdown, which counts a short job as a minute. One process on"
            f" {os.cpu_count()} cores."
        ),
        holds=ours.seconds < MOST_SECONDS,
    )


def describe(found: Outcome, gpus: int) -> str:
    waits = "; ".join(f"{name} {quantiles(found.waits[name])}" for name in CLASSES if found.waits[name])
    use = found.used / (gpus * DAY)
    everyone = quantiles([wait for waits in found.waits.values() for wait in waits])
    slowdown = statistics.fmean(statistics.fmean(values) for values in found.slowdowns.values())
    return (
        f"{waits}; all {everyone}; longest line {found.longest_line:,}, use {use:.1%}, mean slowdown {slowdown:.1f},"
        f" fairness {jain(found.slowdowns):.2f}"
    )


def quantiles(values: Sequence[float]) -> str:
    cuts = statistics.quantiles(values, n=100) if len(values) > 1 else [*values] * 99
    return "/".join(f"{cuts[n - 1]:.0f}" for n in (50, 90, 99))


def jain(by_user: dict[str, list[float]]) -> float:
    means = [statistics.fmean(values) for values in by_user.values()]
    return sum(means) ** 2 / (len(means) * sum(mean * mean for mean in means))


def make_day(jobs: int, gpus: int, seed: int) -> list[Job]:
    """By arrival. The rate is highest at noon; a few users ask for most."""
    random = Random(seed)
    appetite = list(accumulate(random.paretovariate(1.1) for _ in range(USERS)))
    sizes = random.choices(SIZES, SIZE_SHARES, k=jobs)
    whole = [count * (GPU_MB if memory is None else memory) / GPU_MB for count, memory in sizes]
    lasts = [min(random.lognormvariate(0, 1.7), 400.0) for _ in range(jobs)]
    scale = LOAD * gpus * DAY / sum(size * duration for size, duration in zip(whole, lasts, strict=True))
    arrivals = sorted(arrival(random) for _ in range(jobs))
    classes = random.choices(CLASSES, SHARES, k=jobs)
    day = []
    for number, (count, memory) in enumerate(sizes):
        seconds = min(max(5.0, lasts[number] * scale), LONGEST)
        known = seconds * random.uniform(0.8, 2.0) if random.random() < 0.8 else None
        user = f"u{bisect_left(appetite, random.random() * appetite[-1]):03}"
        resumable = random.random() < 0.7
        waiting = Waiting(
            f"{number:07}", classes[number], arrivals[number], count, memory, None, None, user, known, resumable
        )
        day.append(Job(waiting, seconds, whole[number]))
    return day


def arrival(random: Random) -> float:
    """Most at any time, the rest around noon."""
    noon = random.gauss(DAY / 2, DAY / 5)
    return noon if random.random() < 0.4 and 0 <= noon < DAY else random.random() * DAY


def yard(gpus: int) -> Room:
    each = tuple(Gpu(index, GPU_MB) for index in range(GPUS_EACH))
    return Room([Machine(f"m{number:04}", each, slots=0) for number in range(max(1, gpus // GPUS_EACH))])


class Replay:
    """Jobs that come, run and go. What is decided at a tick comes from outside."""

    def __init__(self, day: Sequence[Job], room: Room) -> None:
        self.room = room
        self.outcome = Outcome()
        self._coming = deque(day)
        self._jobs = {job.waiting.job_id: job for job in day}
        self._left = {job.waiting.job_id: job.lasts for job in day}
        self._begun: dict[str, float] = {}
        self._leaving: list[tuple[float, str, int]] = []
        self._turns: Counter[str] = Counter()
        self._stopped: set[str] = set()

    def arrive(self, now: float) -> list[Waiting]:
        """Who came until now, after those who made room and have left."""
        come = self._leave(now)
        while self._coming and self._coming[0].waiting.arrived <= now:
            come.append(self._coming.popleft().waiting)
        return come

    def is_over(self) -> bool:
        return not self._coming and not self._leaving

    def start(self, job_id: str, now: float) -> None:
        job = self._jobs[job_id]
        if job_id not in self._begun:
            wait = now - job.waiting.arrived
            self.outcome.waits[job.waiting.priority].append(wait)
            slowdown = max(1.0, (wait + job.lasts) / max(job.lasts, 60.0))
            self.outcome.slowdowns[job.waiting.user].append(slowdown)
        self._begun[job_id] = now
        self._leaves(job_id, now + self._left[job_id])

    def preempt(self, job_id: str, now: float) -> None:
        """It saves, and then waits again with what is left of it."""
        self.outcome.preempted += 1
        self.room.hold(self.room.release(job_id)._replace(stopping=True))
        self._left[job_id] -= now - self._begun[job_id]
        self._stopped.add(job_id)
        self._leaves(job_id, now + SAVE_SECONDS)

    def _leaves(self, job_id: str, at: float) -> None:
        """What was said of it before no longer counts."""
        self._turns[job_id] += 1
        heapq.heappush(self._leaving, (at, job_id, self._turns[job_id]))

    def _leave(self, now: float) -> list[Waiting]:
        """Those who made room, and wait again."""
        again = []
        while self._leaving and self._leaving[0][0] <= now:
            at, job_id, turn = heapq.heappop(self._leaving)
            if turn != self._turns[job_id]:
                continue
            job = self._jobs[job_id]
            self.room.release(job_id)
            self.outcome.used += job.gpus * max(0.0, min(at, DAY) - self._begun[job_id])
            if job_id in self._stopped:
                self._stopped.remove(job_id)
                again.append(job.waiting)
        return again


Decide = Callable[[Replay, list[Waiting], float], list[Waiting]]


def replay(day: Sequence[Job], room: Room, decide: Decide) -> Outcome:
    """Until the last job has ended."""
    began = time.perf_counter()
    state = Replay(day, room)
    line: list[Waiting] = []
    now = 0.0
    while line or not state.is_over():
        now += TICK
        line += state.arrive(now)
        if line:
            line = decide(state, line, now)
        state.outcome.longest_line = max(state.outcome.longest_line, len(line))
    state.outcome.seconds = time.perf_counter() - began
    return state.outcome


def placed(state: Replay, line: list[Waiting], now: float) -> list[Waiting]:
    plan = fill(state.room, line, now, explain=0)
    for start in plan.starts:
        state.start(start.job_id, now)
    for preemption in plan.preemptions:
        state.preempt(preemption.job_id, now)
    started = {start.job_id for start in plan.starts}
    return [job for job in line if job.job_id not in started] if started else line


def first_come(state: Replay, line: list[Waiting], now: float) -> list[Waiting]:
    """No classes, nobody passes."""
    starts: list[Start] = []
    for job in line:
        found = state.room.find(job.needs, now)
        if found is None:
            break
        bay, gpus = found
        state.room.hold(Held(job.job_id, bay.machine.name, gpus, job.needs, user=job.user))
        state.start(job.job_id, now)
        starts.append(Start(job.job_id, bay.machine.name, gpus))
    return line[len(starts) :]


def options(arguments: Sequence[str]) -> dict[str, int]:
    """`--jobs N --gpus N --seed N`."""
    parser = argparse.ArgumentParser(prog="python -m bench simulate", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--gpus", type=int, default=GPUS)
    parser.add_argument("--seed", type=int, default=1)
    return vars(parser.parse_args(arguments))
