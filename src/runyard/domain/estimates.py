"""How long a job will take, from finished ones like it."""

import hashlib
import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from runyard.protocol.specs.language import LanguageSpec
from runyard.protocol.specs.run import RunSpec

REMEMBERED = 20
"""So many of the newest finished jobs are looked at."""

NO_WORK = {"name", "experiment", "tags", "priority", "limits", "resources", "resumable"}
"""Fields that change nothing of what a script has to do."""


@dataclass(frozen=True)
class Workload:
    """`amount` is how much there is to do, in a unit that is the same for all jobs of the same `kind`."""

    kind: str
    amount: float


@dataclass(frozen=True)
class Past:
    """A finished job: how much it had to do, and the seconds that it ran."""

    amount: float
    seconds: float


def workload(spec: RunSpec, data_bytes: int | None = None) -> Workload | None:
    """What a job has to do: optimizer steps if their number is set, else epochs over the bytes of its training data.

    Jobs compare when kind, model, adapter, length of rows and batch are the same; scripts, when they are one program.
    None for an amount that nobody can know before it starts.
    """
    if not isinstance(spec, LanguageSpec):
        own = spec.model_dump(mode="json", exclude=NO_WORK)
        return Workload(_kind(own), 1.0)
    training = spec.training
    alike = [
        getattr(spec, "kind", ""),
        spec.model.name,
        spec.model.quantization,
        spec.adapter.type,
        training.max_length,
    ]
    if training.max_steps is not None:
        return Workload(_kind([*alike, "steps", training.batch_size]), float(training.max_steps))
    if spec.data.max_rows is not None:
        return Workload(_kind([*alike, "rows"]), training.epochs * spec.data.max_rows)
    if data_bytes is None:
        return None
    return Workload(_kind([*alike, "bytes"]), training.epochs * data_bytes)


def seconds(amount: float, finished: Iterable[Past]) -> float | None:
    """The time for so much work at the median pace of finished jobs; None without any."""
    paces = [past.seconds / past.amount for past in finished if past.amount > 0 and past.seconds > 0]
    return amount * statistics.median(paces) if paces else None


def _kind(parts: object) -> str:
    """A fingerprint: a script's own text may be longer than an index takes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
