"""What a job's history says of how it went: time, speed, machine, losses, and how well it used what it held.

docs/analytics.md has the definitions. Scores are 0 to 100. What can't be known is None, and `warnings` says why.
"""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.domain import dotted, rollups
from runyard.domain.lifecycle import ACTIVE, FINAL, State
from runyard.domain.rollups import SAMPLES_PER_STEP, Rollup

Part = dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """A checkpoint. `path` is where it lies in the run folder; it may have been rotated away since."""

    step: int
    path: str
    best: bool = False


@dataclass(frozen=True)
class History:
    """All that is looked at. `total_seconds` is the time in which it held a machine, up to now."""

    job_id: str
    state: State
    total_seconds: float | None
    rollup: Rollup | None
    checkpoints: Sequence[Saved] = ()
    best_alike: float | None = None
    """The highest throughput of other completed jobs of the same workload."""


@dataclass
class Report:
    """In the shape that clients rely on."""

    job_id: str
    status: str
    duration: Part
    performance: Part
    resource_utilization: Part
    checkpoints: Part
    losses: Part
    efficiency: Part
    warnings: list[str] = field(default_factory=list)


def held_seconds(moves: Iterable[tuple[float, str]], now: float) -> float | None:
    """The time in which a job held a machine, from (time, state after it) of its moves; None if it never did."""
    total, since = None, None
    for at, after in moves:
        if after in ACTIVE and since is None:
            since = at
        elif after not in ACTIVE and since is not None:
            total, since = (total or 0.0) + max(0.0, at - since), None
    return total if since is None else (total or 0.0) + max(0.0, now - since)


def report(history: History) -> Report:
    rollup = history.rollup or Rollup()
    utilization = resource_utilization(rollup)
    found = Report(
        job_id=history.job_id,
        status=history.state.value,
        duration=duration(history.total_seconds, rollup),
        performance=performance(rollup),
        resource_utilization=utilization,
        checkpoints=checkpoints(history.checkpoints),
        losses=losses(rollup),
        efficiency=efficiency(utilization["average_gpu_utilization"], rollups.throughput(rollup), history.best_alike),
    )
    found.warnings = [text for applies, text in WARNINGS if applies(history, found)]
    return found


def duration(total_seconds: float | None, rollup: Rollup) -> Part:
    """Overhead is all that was not training: starting, preparing, loading, evaluating, saving, merging."""
    training = rollup.seconds.get("training", 0.0) if rollup.attempt else None
    overhead = None if total_seconds is None or training is None else max(0.0, total_seconds - training)
    return {"total_seconds": total_seconds, "training_seconds": training, "overhead_seconds": overhead}


def performance(rollup: Rollup) -> Part:
    last_steps = [tally.last_step for tally in rollup.tallies.get("train", {}).values() if tally.last_step is not None]
    iterations = max(last_steps, default=None)
    a_step = rollup.known("train", SAMPLES_PER_STEP).mean
    return {
        "average_samples_per_second": rollups.throughput(rollup),
        "peak_samples_per_second": rollup.known("train", "samples_per_second").highest,
        "average_iteration_time": rollup.known("train", "iteration_seconds").mean,
        "total_iterations": iterations,
        "total_samples": None if a_step is None or iterations is None else round(a_step * iterations),
    }


def resource_utilization(rollup: Rollup) -> Part:
    memory, heat = rollup.known("train", "gpu_memory_mb"), rollup.known("train", "gpu_temperature_celsius")
    return {
        "average_gpu_utilization": rollup.known("train", "gpu_utilization_percent").mean,
        "peak_gpu_memory_mb": memory.highest,
        "average_gpu_memory_mb": memory.mean,
        "average_gpu_temp_celsius": heat.mean,
        "peak_gpu_temp_celsius": heat.highest,
    }


def checkpoints(saved: Sequence[Saved]) -> Part:
    """How often: the middle one of the distances from one to the next."""
    inorder = sorted(saved, key=lambda one: one.step)
    apart = [later.step - one.step for one, later in itertools.pairwise(inorder)]
    return {
        "total_checkpoints": len(inorder),
        "checkpoint_frequency_steps": statistics.median_low(apart) if apart else None,
        "best_checkpoint": next((one.path for one in inorder if one.best), None),
        "final_checkpoint": inorder[-1].path if inorder else None,
    }


def losses(rollup: Rollup) -> Part:
    """Of training, all of them: the best of an evaluation is told of elsewhere."""
    loss = rollup.known("train", "loss")
    first, last = loss.first, loss.newest
    reduction = None if first is None or last is None or first == 0 else 100 * (first - last) / abs(first)
    return {
        "initial_loss": first,
        "final_loss": last,
        "best_loss": loss.lowest,
        "loss_reduction_percent": reduction,
    }


def efficiency(gpu_utilization: float | None, throughput: float | None, best_alike: float | None) -> Part:
    """GPU utilisation as it is; throughput against the best of like jobs; the mean of what is known."""
    speed = None
    if throughput is not None and best_alike is not None and max(throughput, best_alike) > 0:
        speed = 100 * throughput / max(throughput, best_alike)
    known = [score for score in (gpu_utilization, speed) if score is not None]
    return {
        "gpu_utilization_score": gpu_utilization,
        "throughput_score": speed,
        "overall_score": sum(known) / len(known) if known else None,
    }


def _is_mute(history: History, _: Report) -> bool:
    return history.rollup is None or not (history.rollup.seconds or history.rollup.tallies)


WARNINGS: tuple[tuple[Callable[[History, Report], bool], str], ...] = (
    (lambda history, _: history.state not in FINAL, "the job has not ended: the figures are those up to now"),
    (lambda history, _: history.total_seconds is None, "it has not held a machine yet"),
    (_is_mute, "it reported nothing, or before there were figures: only its duration is known"),
    (
        lambda history, found: not _is_mute(history, found) and found.performance["average_samples_per_second"] is None,
        "it reported no samples_per_second: its throughput is not known",
    ),
    (
        lambda history, found: (
            found.performance["average_samples_per_second"] is not None and found.performance["total_samples"] is None
        ),
        "it reported no iteration_seconds: how many samples it saw is not known",
    ),
    (
        lambda history, found: not _is_mute(history, found) and found.losses["initial_loss"] is None,
        "it reported no loss of training",
    ),
    (
        lambda history, found: found.losses["initial_loss"] is not None and found.losses["final_loss"] is None,
        "its last loss was not a finite number",
    ),
    (
        lambda history, found: (
            not _is_mute(history, found) and found.resource_utilization["average_gpu_utilization"] is None
        ),
        "it reported no GPU figures: it ran without a GPU, or on one that shows none",
    ),
    (
        lambda history, found: (
            found.performance["average_samples_per_second"] is not None and found.efficiency["throughput_score"] is None
        ),
        "no other job like it has been completed: its throughput has nothing to be compared with",
    ),
)


@dataclass(frozen=True)
class Compared:
    """One of several jobs side by side."""

    job_id: str
    state: State
    duration_seconds: float | None
    throughput: float | None
    final_loss: float | None
    best_loss: float | None
    """The lowest of training."""
    best_eval_loss: float | None
    gpu_utilization: float | None
    overall_score: float | None


def winner(jobs: Sequence[Compared]) -> dict[str, str | None]:
    """Ids of the best, each by its own measure; of equals the one named first, None where nobody has the figure.

    The best loss is that of evaluation if each job that has any loss evaluated, else that of training.
    """
    with_loss = [job for job in jobs if job.best_loss is not None or job.best_eval_loss is not None]
    all_evaluated = all(job.best_eval_loss is not None for job in with_loss)
    ended = [job for job in jobs if job.state == State.COMPLETED]
    return {
        "best_throughput": _best(jobs, lambda job: _negative(job.throughput)),
        "best_loss": _best(jobs, lambda job: job.best_eval_loss if all_evaluated else job.best_loss),
        "fastest": _best(ended, lambda job: job.duration_seconds),
        "most_efficient": _best(jobs, lambda job: _negative(job.overall_score)),
    }


def _best(jobs: Sequence[Compared], measure: Callable[[Compared], float | None]) -> str | None:
    known = [(value, job.job_id) for job in jobs if (value := measure(job)) is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


UNCOMPARED = frozenset({"name", "experiment", "tags", "priority"})
"""What tells runs apart, and changes nothing of them."""


def differences(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings that are not the same for all, by dotted path, with each job's value; null where it has none."""
    flat = {job_id: dict(dotted.flat(spec)) for job_id, spec in specs.items()}
    paths = dict.fromkeys(path for settings in flat.values() for path in settings)
    found = {path: {job_id: settings.get(path) for job_id, settings in flat.items()} for path in paths}
    return {
        path: values
        for path, values in found.items()
        if path not in UNCOMPARED and any(value != next(iter(values.values())) for value in values.values())
    }
