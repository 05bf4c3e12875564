"""Changes of a job that may cure a failure, each a small step from what it asked for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runyard.protocol.specs.language import LanguageSpec

SHORTEST_ROW = 64
LOWEST_RATE = 1e-8
LONGER_WARMUP = 0.1
WEIGHTS_PHASES = frozenset({"loading", "preparing"})
"""Phases in which memory runs out for the weights alone: smaller batches would change nothing."""


@dataclass(frozen=True)
class Facts:
    """What is known of the run that failed: `chosen` holds what the trainer chose for fields left open, by field;
    `longest_row` is in tokens."""

    chosen: Mapping[str, Any] = field(default_factory=dict)
    on_gpu: bool = False
    phase: str | None = None
    signal: int | None = None
    longest_row: int | None = None


@dataclass(frozen=True)
class Change:
    """`before` is what was in effect, None where nothing was set."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {'unset' if self.before is None else self.before} -> {self.after}"


Changes = tuple[Change, ...]
Step = Callable[[LanguageSpec, Facts], Changes]


def in_effect(spec: LanguageSpec, facts: Facts, name: str) -> Any:
    """What was asked for, else what the trainer chose."""
    section, _, field_name = name.partition(".")
    given = getattr(getattr(spec, section), field_name)
    return facts.chosen.get(name) if given is None else given


def without_merge(spec: LanguageSpec, facts: Facts) -> Changes:
    """The trained adapter is complete before it is merged."""
    return (Change("output.merge", True, False),) if facts.phase == "merging" and spec.output.merge else ()


def smaller_evaluation(spec: LanguageSpec, facts: Facts) -> Changes:
    size = spec.evaluation.batch_size
    if facts.phase != "evaluating" or size is None or size == 1:
        return ()
    return (Change("evaluation.batch_size", size, size // 2),)


def smaller_micro_batch(spec: LanguageSpec, facts: Facts) -> Changes:
    """At most half as many rows at once, and the same batch: more of them are accumulated."""
    batch = in_effect(spec, facts, "training.batch_size")
    micro = in_effect(spec, facts, "training.micro_batch_size")
    if facts.phase in WEIGHTS_PHASES or not batch or not micro or micro == 1:
        return ()
    smaller = next(rows for rows in range(micro // 2, 0, -1) if batch % rows == 0)
    changes: Changes = (Change("training.micro_batch_size", micro, smaller),)
    if spec.training.batch_size is None:  # else it might be chosen anew, and come out different
        changes = (Change("training.batch_size", batch, batch), *changes)
    return changes


def checkpointed_activations(spec: LanguageSpec, facts: Facts) -> Changes:
    name = "training.activation_checkpointing"
    if facts.phase in WEIGHTS_PHASES or in_effect(spec, facts, name):
        return ()
    return (Change(name, False, True),)


def four_bits(spec: LanguageSpec, facts: Facts) -> Changes:
    quantization = spec.model.quantization
    is_file = spec.model.name.lower().endswith(".gguf")  # unpacked when it is loaded
    if not facts.on_gpu or spec.adapter.type == "none" or quantization == "4bit" or is_file:
        return ()
    return (Change("model.quantization", quantization, "4bit"),)


def shorter_rows(spec: LanguageSpec, facts: Facts) -> Changes:
    """Half of what the longest row has, in eights."""
    limit = spec.training.max_length
    packed = in_effect(spec, facts, "training.packing")
    longest = limit if packed or facts.longest_row is None else min(limit, facts.longest_row)
    shorter = longest // 2 // 8 * 8
    if facts.phase in WEIGHTS_PHASES or shorter < SHORTEST_ROW:
        return ()
    return (Change("training.max_length", limit, shorter),)


def no_workers(spec: LanguageSpec, facts: Facts) -> Changes:
    workers = in_effect(spec, facts, "training.loader_workers")
    return (Change("training.loader_workers", workers, 0),) if workers else ()


def fewer_checkpoints(spec: LanguageSpec, facts: Facts) -> Changes:
    keep = spec.checkpoints.keep
    return (Change("checkpoints.keep", keep, 2),) if keep > 2 else ()


def exact_numbers(spec: LanguageSpec, facts: Facts) -> Changes:
    """16-bit floats of the older kind overflow at 65504."""
    dtype = in_effect(spec, facts, "model.dtype")
    return (Change("model.dtype", "fp16", "fp32"),) if dtype == "fp16" else ()


def calmer(spec: LanguageSpec, facts: Facts, divisor: int) -> Changes:
    """A lower learning rate, and a longer way up to it."""
    return tuple(_calmer(spec, facts, divisor))


def _calmer(spec: LanguageSpec, facts: Facts, divisor: int) -> Iterator[Change]:
    rate = in_effect(spec, facts, "training.learning_rate")
    if rate is not None and rate / divisor >= LOWEST_RATE:
        yield Change("training.learning_rate", rate, float(f"{rate / divisor:.2g}"))
    if spec.training.warmup < LONGER_WARMUP:
        yield Change("training.warmup", spec.training.warmup, LONGER_WARMUP)
