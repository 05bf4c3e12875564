"""Is an attempt stuck? Judged from the signs of progress that it shows, and from a clock that never jumps.

Signs and counts are plain values, kept with the attempt, so that one server goes on where another ended.

A sign is a step that moves, a phase that begins, a checkpoint, an evaluation. New values at the same step are none: the
thread that sends them may live on while the training hangs.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

STARTING_SECONDS = 30 * 60.0
"""Until a trainer declares its first phase."""
TRAINING_SECONDS = 10 * 60.0
PHASE_SECONDS = {
    "preparing": 30 * 60.0,
    "loading": 30 * 60.0,
    "evaluating": 60 * 60.0,
    "saving": 30 * 60.0,
    "merging": 30 * 60.0,
}
UNWATCHED_SECONDS = 60.0
"""The most that counts between two looks: one who could not look for longer was frozen, and what it watches may have
been frozen with it."""
SIGNS_OF_PACE, PACES = 2, 3.0
"""A script is watched once it has shown so many signs, and is stuck when it takes so many times its longest pause."""


@dataclass(frozen=True)
class Limits:
    """What a job asks for, in seconds. One that `reports` declares phases and steps; a script may not."""

    stall_timeout: float | None = None
    max_runtime: float | None = None
    reports: bool = True

    @property
    def heeds_output(self) -> bool:
        """Growth of its output tells whether a script that reports nothing is stuck."""
        return not self.reports and self.stall_timeout is not None


@dataclass(frozen=True)
class Overdue:
    """Why an attempt is to be ended: a word for programs, a sentence for people."""

    reason: str
    message: str


@dataclass
class Signs:
    """What the events of one attempt show; `moves` counts those that show progress."""

    phase: str | None = None
    step: int = 0
    batch: int | None = None
    finished: bool = False
    moves: int = 0
    metric_steps: dict[str, int] = field(default_factory=dict)
    """The newest step of each split."""

    def take(self, type_: str, data: Mapping[str, Any]) -> None:
        """Move on by one event."""
        match type_:
            case "phase" if data["phase"] != self.phase:
                if "preparing" in (self.phase, data["phase"]):
                    self.step = 0  # rows are not optimizer steps
                self.phase = data["phase"]
            case "progress" if (data["phase"], data["step"], data.get("batch")) != (self.phase, self.step, self.batch):
                self.phase, self.step, self.batch = data["phase"], data["step"], data.get("batch")
            case "metric" if data["step"] > self.metric_steps.get(data["split"], -1):
                self.metric_steps[data["split"]] = self.step = data["step"]
            case "resumed":
                self.step = data["step"]
                self.metric_steps.clear()
            case "finished":
                self.finished = True
            case "checkpoint" | "artifact" | "sample":
                pass
            case _:
                return
        self.moves += 1


@dataclass
class Count:
    """What looking at an attempt has come to, in seconds; the last look was at `looked` of a clock that never jumps and
    that all servers of a machine have in common."""

    looked: float
    ran: float = 0.0
    idle: float = 0.0
    longest: float = 0.0
    """Its longest pause between two signs."""
    moves: int = 0
    written: int = 0


Value = TypeVar("Value", Signs, Count)


def restored(type_: type[Value], kept: Mapping[str, Any] | None) -> Value | None:
    """What was kept as JSON, perhaps by another version, which may know other fields."""
    if kept is None:
        return None
    return type_(**{each.name: copy.copy(kept[each.name]) for each in fields(type_) if each.name in kept})


class Watch:
    """One attempt, looked at again and again."""

    def __init__(self, limits: Limits, count: Count | None = None) -> None:
        """`count` is what an earlier server came to."""
        self.limits, self.count = limits, count
        self._has_looked = self._is_resting = False

    def look(self, now: float, signs: Signs, written: int = 0) -> Overdue | None:
        """Is it overdue? `now` is in seconds since any moment; `written` is the size of its output in bytes."""
        count = self.count = self.count or Count(now)
        passed = self._passed(now - count.looked)
        count.looked, count.ran, count.idle = now, count.ran + passed, count.idle + passed
        shown = (signs.moves, written if self.limits.heeds_output and not signs.moves else 0)
        if shown != (count.moves, count.written) or self._is_resting:
            count.longest = max(count.longest, count.idle)
            count.idle, (count.moves, count.written) = 0.0, shown
        self._has_looked, self._is_resting = True, False
        return self._judge(signs, count)

    def rest(self) -> None:
        """Nothing can be seen now: the count of idle time begins anew."""
        self._is_resting = True

    def _passed(self, seconds: float) -> float:
        """What counts of the time since the last look. While no server ran, the attempt did; a server that runs and
        does not look is frozen."""
        most = UNWATCHED_SECONDS if self._has_looked else math.inf
        return 0.0 if self._is_resting else max(0.0, min(seconds, most))

    def _judge(self, signs: Signs, count: Count) -> Overdue | None:
        limit = self.limits.max_runtime
        if limit is not None and count.ran >= limit:
            return Overdue("timeout", f"it ran for {words(limit)}, which is all that limits.max_runtime allows")
        budget = self._budget(signs, count.longest)
        if budget is None or count.idle < budget:
            return None
        if signs.finished:
            return Overdue("stalled", f"it was done, and did not leave in {words(budget)}")
        return Overdue("stalled", f"no progress for {words(budget)} {_where(signs)}")

    def _budget(self, signs: Signs, longest: float) -> float | None:
        """Seconds that it may take to the next sign; None if it is not watched."""
        asked = self.limits.stall_timeout
        if signs.finished:
            return TRAINING_SECONDS
        if not self.limits.reports and asked is None and signs.moves < SIGNS_OF_PACE:
            return None
        if signs.phase in PHASE_SECONDS:
            return max(PHASE_SECONDS[signs.phase], asked or 0.0)
        if asked is not None and (signs.phase or not self.limits.reports):
            return asked
        if not self.limits.reports:
            return max(TRAINING_SECONDS, PACES * longest)
        return TRAINING_SECONDS if signs.phase else max(STARTING_SECONDS, asked or 0.0)


def words(seconds: float) -> str:
    """Such as `10 min`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{round(seconds / size, 1):g} {unit}"
    return f"{seconds:g} s"


def _where(signs: Signs) -> str:
    phase = f"in phase {signs.phase}" if signs.phase else "before its first phase"
    return f"{phase} at step {signs.step}" if signs.step else phase
