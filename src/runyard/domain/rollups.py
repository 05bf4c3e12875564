"""What a job's events come to, added up as they come in: a fold, so that nothing is ever read twice.

Time belongs to the phase that the trainer is in until its next event says otherwise. It ends with the attempt's last
event: what follows, a pause or a wait, belongs to none.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

MOST_NAMES = 256
"""Of a split: a script that gives each step a name of its own keeps its points, but gets no curves of more."""
LARGEST = 1.7e308
SAMPLES_PER_STEP = "_samples_per_step"
"""Made here of two others, point by point: what is not the mean of each, where both change."""
FACTS_SECONDS = 2.0
"""How old the row of a list may be while a job runs: each change of it is one in each index."""
TURNS = frozenset({"phase", "checkpoint", "finished"})
Values = Mapping[str, float | None]


@dataclass(slots=True)
class Tally:
    """What the values of one name come to. `nulls` are those that were not finite."""

    count: int = 0
    nulls: int = 0
    total: float = 0.0
    lowest: float | None = None
    lowest_step: int | None = None
    highest: float | None = None
    highest_step: int | None = None
    first: float | None = None
    first_step: int | None = None
    last: float | None = None
    last_step: int | None = None
    last_null: int | None = None
    """The latest step whose value was not finite."""

    def take(self, step: int, value: float | None) -> None:
        last_step = self.last_step
        if value is None:
            self.nulls += 1
            self.last_null = step if self.last_null is None else max(step, self.last_null)
        elif last_step is None or step <= last_step:
            self.join(Tally(1, 0, value, value, step, value, step, value, step, value, step))
        else:  # the same in short, for what comes ten thousand times a second
            self.count += 1
            self.total += value
            self.last, self.last_step = value, step
            if value < self.lowest:  # type: ignore[operator] # it has a last one, so it has a lowest
                self.lowest, self.lowest_step = value, step
            elif value > self.highest:  # type: ignore[operator]
                self.highest, self.highest_step = value, step

    def join(self, other: "Tally") -> None:
        """Add what other steps have come to."""
        self.count += other.count
        self.nulls += other.nulls
        self.total += other.total
        if other.last_null is not None:
            self.last_null = max(other.last_null, -1 if self.last_null is None else self.last_null)
        if other.lowest is None or other.highest is None or other.first_step is None or other.last_step is None:
            return
        # Of equal ones the first, in whatever order they come.
        if self.lowest is None or (other.lowest, other.lowest_step) < (self.lowest, self.lowest_step):
            self.lowest, self.lowest_step = other.lowest, other.lowest_step
        if self.highest is None or (-other.highest, other.highest_step) < (-self.highest, self.highest_step):
            self.highest, self.highest_step = other.highest, other.highest_step
        if self.first_step is None or other.first_step < self.first_step:
            self.first, self.first_step = other.first, other.first_step
        if self.last_step is None or other.last_step >= self.last_step:
            self.last, self.last_step = other.last, other.last_step

    def parts(self) -> list[Any]:
        """As JSON: `Tally(*parts)` is the same again."""
        total = max(-LARGEST, min(LARGEST, self.total))
        ends = (self.lowest, self.lowest_step, self.highest, self.highest_step, self.first, self.first_step)
        return [self.count, self.nulls, total, *ends, self.last, self.last_step, self.last_null]

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    @property
    def newest(self) -> float | None:
        """The value at the last step; None where that was not finite."""
        is_null = self.last_null is not None and (self.last_step is None or self.last_null > self.last_step)
        return None if is_null else self.last


Tallies = dict[str, dict[str, Tally]]
"""By split and name."""


@dataclass
class Rollup:
    attempt: int = 0
    phase: str | None = None
    since: float | None = None
    """When the last event came."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
    tallies: Tallies = field(default_factory=dict)
    sealed: dict[str, int] = field(default_factory=dict)
    """The last step, by split, up to which the points are in columns."""
    loose: dict[str, int] = field(default_factory=dict)
    """How many points come after it."""
    told_at: float = 0.0

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> Self:
        rollup = cls(**content)
        rollup.tallies = {
            split: {name: Tally(*parts) for name, parts in names.items()} for split, names in content["tallies"].items()
        }
        return rollup

    def content(self) -> dict[str, Any]:
        """As JSON, for `restored`."""
        tallies = {
            split: {name: tally.parts() for name, tally in names.items()} for split, names in self.tallies.items()
        }
        return {**{name: value for name, value in vars(self).items() if name != "tallies"}, "tallies": tallies}

    def hear(self, type_: str, at: float, data: Mapping[str, Any]) -> None:
        """An event, for the time that it ends."""
        if data["attempt"] != self.attempt:
            self.attempt, self.phase, self.since = data["attempt"], None, None
        if self.phase is not None and self.since is not None:
            self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + max(0.0, at - self.since)
        self.since = at
        if type_ in ("phase", "progress"):
            self.phase = data["phase"]
        elif type_ == "finished":
            self.phase = None
        elif type_ == "metric" and self.phase is None:
            self.phase = "training"  # a script need not name its phases

    def is_due(self, types: Iterable[str], at: float) -> bool:
        """Should what lists show be written anew?"""
        if TURNS.isdisjoint(types) and self.told_at <= at < self.told_at + FACTS_SECONDS:
            return False
        self.told_at = at
        return True

    def take(self, split: str, step: int, before: Values, after: Values) -> bool:
        """A point whose values were, and now are; False if what was counted already has changed: then all has to be
        counted anew."""
        if not before:
            count(self.tallies, split, step, completed(after))
            return True
        if any(name not in after or after[name] != value for name, value in before.items()):
            return False
        earlier = completed(before)
        new = {name: value for name, value in completed(after).items() if name not in earlier}
        count(self.tallies, split, step, new)
        return True

    def known(self, split: str, name: str) -> Tally:
        return self.tallies.get(split, {}).get(name) or Tally()


def count(tallies: Tallies, split: str, step: int, values: Values) -> None:
    names = tallies.setdefault(split, {})
    for name, value in values.items():
        tally = names.get(name)
        if tally is None:
            if len(names) >= MOST_NAMES:
                continue
            tally = names[name] = Tally()
        tally.take(step, value)


def join(tallies: Tallies, split: str, name: str, tally: Tally) -> None:
    names = tallies.setdefault(split, {})
    if name in names or len(names) < MOST_NAMES:
        names.setdefault(name, Tally()).join(tally)


def completed(values: Values) -> Values:
    """With what is made of them."""
    if "samples_per_second" not in values:
        return values
    speed, seconds = values["samples_per_second"], values.get("iteration_seconds")
    if speed is None or seconds is None or not math.isfinite(speed * seconds):
        return values
    return {**values, SAMPLES_PER_STEP: speed * seconds}


@dataclass(frozen=True)
class Facts:
    """What lists are sorted by."""

    best_name: str | None
    best_value: float | None
    best_step: int | None
    last_loss: float | None
    throughput: float | None
    training_seconds: float | None
    gpu_utilization: float | None
    peak_gpu_memory_mb: float | None


def facts(rollup: Rollup) -> dict[str, Any]:
    """By the names of their columns."""
    judged = rollup.known("eval", "eval_loss")
    name = "loss" if judged.lowest is None else "eval_loss"
    best = rollup.known("train", "loss") if judged.lowest is None else judged
    found = Facts(
        best_name=None if best.lowest is None else name,
        best_value=best.lowest,
        best_step=best.lowest_step,
        last_loss=rollup.known("train", "loss").newest,
        throughput=throughput(rollup),
        training_seconds=rollup.seconds.get("training"),
        gpu_utilization=rollup.known("train", "gpu_utilization_percent").mean,
        peak_gpu_memory_mb=rollup.known("train", "gpu_memory_mb").highest,
    )
    return asdict(found)


def throughput(rollup: Rollup) -> float | None:
    """Samples a second: each report counts for as long as its steps took, where that is told, else all alike."""
    speed = rollup.known("train", "samples_per_second")
    steps, samples = rollup.known("train", "iteration_seconds"), rollup.known("train", SAMPLES_PER_STEP)
    if samples.count and samples.count == speed.count == steps.count and steps.total > 0:
        return samples.total / steps.total
    return speed.mean
