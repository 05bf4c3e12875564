"""Jobs as pages show them: what there is to say of one in a row, made from its row and its newest snapshot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runyard.db.tables import Job
from runyard.domain.cures import Change
from runyard.domain.lifecycle import FINAL, State
from runyard.server.web import states, words

SPARK_WIDTH, SPARK_HEIGHT = 88.0, 30.0
HEADS = ("loss", "eval_loss")

Difference = tuple[str, str | None, str | None]
"""Field of a job file, before, after."""


@dataclass(frozen=True)
class Spark:
    """A small curve as SVG; its newest point."""

    path: str
    x: str
    y: str


@dataclass(frozen=True)
class Shown:
    """One job in a row. `part` is how much is done, of one; `left` the seconds to its end."""

    job: Job
    model: str
    part: float | None
    done: str
    latest: float | None
    latest_name: str
    speed: float | None
    speed_unit: str
    left: float | None
    ran: float | None
    says: str
    spark: Spark | None = None

    @property
    def id(self) -> str:
        return self.job.id


def shown(job: Job, now: float, curve: Sequence[tuple[float, float]] = ()) -> Shown:
    snapshot: dict[str, Any] = job.snapshot or {}
    step, total, phase = snapshot.get("step") or 0, snapshot.get("total_steps"), snapshot.get("phase")
    unit = "rows" if phase == "preparing" else "steps"
    part = min(1.0, step / total) if total else None
    name, latest = _latest(snapshot)
    tokens = snapshot.get("tokens_per_second")
    return Shown(
        job=job,
        model=short(job.model) if job.model else "",
        part=1.0 if job.state == State.COMPLETED else part,
        done=f"{words.count(step)} / {words.count(total)} {unit}"
        if total
        else f"{words.count(step)} {unit}" * bool(step),
        latest=latest,
        latest_name=name,
        speed=tokens or snapshot.get("samples_per_second"),
        speed_unit="tok/s" if tokens else "rows/s",
        left=_left(job, now),
        ran=ran(job, now),
        says=says(job, now),
        spark=spark(curve, part if job.state not in FINAL else 1.0),
    )


def says(job: Job, now: float) -> str:
    """What follows the state: why it waits, how far it is, what it ended with."""
    snapshot: dict[str, Any] = job.snapshot or {}
    step, total = snapshot.get("step") or 0, snapshot.get("total_steps")
    match State(job.state):
        case State.QUEUED:
            return job.wait_cause or ""
        case State.STARTING:
            return snapshot.get("phase") or "setting up"
        case State.RUNNING:
            return words.percent(step / total) if total else str(snapshot.get("phase") or "")
        case State.PAUSING:
            return "writing a checkpoint, goes on then" if job.returns else "writing a checkpoint"
        case State.PAUSED:
            return f"at step {words.count(step)}" if step else "before its start"
        case State.FAILED:
            return states.cause(job.reason) + (f" at step {words.count(step)}" if step else "")
        case _:
            return ""


def short(model: str) -> str:
    """The last part of a name or path."""
    return model.rstrip("/").rpartition("/")[2]


def spark(curve: Sequence[tuple[float, float]], part: float | None) -> Spark | None:
    """`part` is how much of the width the curve takes, of one."""
    if len(curve) < 2:
        return None
    xs, ys = [x for x, _ in curve], [y for _, y in curve]
    low, high = min(ys), max(ys)
    wide = (xs[-1] - xs[0]) or 1.0
    width = SPARK_WIDTH * max(0.06, part if part is not None else 1.0)
    placed = [
        (width * (x - xs[0]) / wide, 2 + (SPARK_HEIGHT - 4) * (1 - (y - low) / ((high - low) or 1.0))) for x, y in curve
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
    return Spark(path, f"{placed[-1][0]:.1f}", f"{placed[-1][1]:.1f}")


def _latest(snapshot: dict[str, Any]) -> tuple[str, float | None]:
    """The loss; of one that reports none, what it reported first."""
    values = snapshot.get("values") or {}
    if snapshot.get("loss") is not None:
        return "loss", snapshot["loss"]
    first = next(((name, value) for name, value in values.items() if value is not None), ("", None))
    return first[0].replace("_", " "), first[1]


def ran(job: Job, now: float) -> float | None:
    """The time in which it held a machine: pauses don't count."""
    if job.active_since is not None:
        return (job.duration or 0.0) + max(0.0, now - job.active_since)
    return job.duration


def _left(job: Job, now: float) -> float | None:
    """By its own pace; before it has one, by what jobs like it took."""
    if job.state in FINAL or job.state in (State.QUEUED, State.PAUSED):
        return None
    snapshot: dict[str, Any] = job.snapshot or {}
    if snapshot.get("attempt") == job.attempts and snapshot.get("eta_seconds") is not None:
        return max(0.0, float(snapshot["at"] + snapshot["eta_seconds"]) - now)
    if job.estimated_seconds is not None and job.started_at is not None:
        return max(0.0, job.started_at + job.estimated_seconds - now)
    return None


def differences(changes: Iterable[Change]) -> list[Difference]:
    return [(change.field, words.setting(change.before), words.setting(change.after)) for change in changes]
