"""What a job leaves open, chosen from machine, model and data: each choice with its reason.

Pure: the same spec, report, machine and model give the same plan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from runyard.protocol.specs.language import DpoSpec, DType, SftSpec
from runyard.trainers.language import memory
from runyard.trainers.language.models import ModelShape
from runyard.trainers.machine import Machine

Spec = SftSpec | DpoSpec
STEPS_AN_EPOCH = 32
"""Fewer optimizer steps than this teach little, so small sets get small batches."""
LARGEST_BATCH = 16
LEARNING_RATES = {("sft", True): 2e-4, ("sft", False): 2e-5, ("dpo", True): 1e-5, ("dpo", False): 1e-6}
PLAN_NAMES = {"checkpoints.every_steps": "save_every", "evaluation.every_steps": "eval_every"}


class Measured(Protocol):
    """What has to be known about the data: token length of every training row, and rows held out."""

    @property
    def lengths(self) -> tuple[int, ...]: ...
    @property
    def eval_rows(self) -> int: ...


class Choice(BaseModel):
    model_config = ConfigDict(frozen=True)

    field: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.field} = {self.value}: {self.reason}"


class Plan(BaseModel):
    """Every value that training needs, given or chosen."""

    model_config = ConfigDict(frozen=True)

    dtype: DType
    packing: bool
    group_by_length: bool
    batch_size: int
    micro_batch_size: int
    eval_batch_size: int
    learning_rate: float
    activation_checkpointing: bool
    loader_workers: int
    pin_memory: bool
    total_steps: int
    save_every: int
    eval_every: int | None
    precompute_reference: bool

    @property
    def accumulation(self) -> int:
        return self.batch_size // self.micro_batch_size


@dataclass
class _Chooser:
    """Keeps what was given or was chosen when the run began; notes the reason for everything else."""

    frozen: Mapping[str, Any]
    choices: list[Choice]

    def pick(self, field: str, given: Any, value: Any, reason: str) -> Any:
        name = PLAN_NAMES.get(field, field.rpartition(".")[2])
        if given is not None:
            return given
        if name in self.frozen:
            value, reason = self.frozen[name], "chosen when the run began"
        self.choices.append(Choice(field=field, value=value, reason=reason))
        return value


def choose(
    spec: Spec,
    data: Measured,
    machine: Machine,
    shape: ModelShape,
    frozen: Mapping[str, Any] | None = None,
) -> tuple[Plan, list[Choice]]:
    """The plan, and those of its values that the spec left open. `frozen` holds values of the same run's start."""
    chooser = _Chooser(frozen or {}, [])
    training = spec.training
    dtype = chooser.pick("model.dtype", spec.model.dtype, *_dtype(machine))
    packing = _packing(chooser, spec, data.lengths, machine)
    group = _grouping(chooser, spec, data.lengths, packing=packing)
    sequences = packed_count(data.lengths, training.max_length) if packing else len(data.lengths)
    row = training.max_length if packing else max(data.lengths)
    memory_plan = memory.MemoryPlan(spec, shape, machine, dtype, row_tokens=row * (2 if spec.kind == "dpo" else 1))
    batch, micro = _batch(chooser, spec, sequences, memory_plan)
    total = training.max_steps or max(1, math.ceil(training.epochs * math.ceil(sequences / batch)))
    save_every = chooser.pick(
        "checkpoints.every_steps", spec.checkpoints.every_steps, max(1, math.ceil(total / 10)), "a tenth of the run"
    )
    plan = Plan(
        dtype=dtype,
        packing=packing,
        group_by_length=group,
        batch_size=batch,
        micro_batch_size=micro,
        eval_batch_size=spec.evaluation.batch_size or micro,
        learning_rate=_learning_rate(chooser, spec),
        activation_checkpointing=_checkpointing(chooser, spec, memory_plan),
        total_steps=total,
        save_every=save_every,
        eval_every=_eval_every(chooser, spec, data, save_every),
        precompute_reference=_precompute(chooser, spec),
        **_loading(chooser, spec, machine),
    )
    return plan, chooser.choices


def packed_count(lengths: Sequence[int], size: int) -> int:
    """About how many sequences of `size` tokens hold all rows; best-fit packing comes close to a full fill."""
    return max(1, math.ceil(sum(min(length, size) for length in lengths) / size))


def _dtype(machine: Machine) -> tuple[DType, str]:
    if machine.gpu is None:
        return "fp32", "there is no GPU, and CPUs are fastest and exact in fp32"
    if machine.gpu.bf16:
        return "bf16", f"{machine.gpu.name} computes in bfloat16"
    return "fp16", f"{machine.gpu.name} is older than Ampere and has no bfloat16"


def _packing(chooser: _Chooser, spec: Spec, lengths: Sequence[int], machine: Machine) -> bool:
    if spec.kind == "dpo":
        return False
    size = spec.training.max_length
    mean = sum(lengths) / len(lengths)
    packed = packed_count(lengths, size)
    if machine.gpu is None:
        value, reason = False, "on a CPU, attention over long packed sequences costs more than padding"
    elif mean > size / 2:
        value, reason = False, f"rows fill {mean / size:.0%} of max_length already"
    elif packed < STEPS_AN_EPOCH:
        value, reason = False, f"all rows fit in {packed} packed sequences: too few steps to learn from"
    else:
        value, reason = True, f"rows have {mean:.0f} tokens on average, {mean / size:.0%} of max_length"
    return bool(chooser.pick("training.packing", spec.training.packing, value, reason))


def _grouping(chooser: _Chooser, spec: Spec, lengths: Sequence[int], *, packing: bool) -> bool:
    if packing:
        return False
    mean, longest = sum(lengths) / len(lengths), max(lengths)
    uneven = longest > 1.25 * mean
    reason = f"the longest row has {longest} tokens, the mean is {mean:.0f}: " + (
        "like lengths in one batch need less padding" if uneven else "there is little padding to save"
    )
    return bool(chooser.pick("training.group_by_length", spec.training.group_by_length, uneven, reason))


def _batch(chooser: _Chooser, spec: Spec, sequences: int, memory_plan: memory.MemoryPlan) -> tuple[int, int]:
    training = spec.training
    default = min(LARGEST_BATCH, memory.power_of_two_below(sequences * min(training.epochs, 1) / STEPS_AN_EPOCH))
    if training.micro_batch_size:
        default = math.ceil(default / training.micro_batch_size) * training.micro_batch_size
    why = f"about {STEPS_AN_EPOCH} steps or more an epoch over {sequences} rows, at most {LARGEST_BATCH}"
    batch = chooser.pick("training.batch_size", training.batch_size, default, why)
    rows, reason = memory_plan.rows_at_once()
    micro = chooser.pick(
        "training.micro_batch_size", training.micro_batch_size, memory.largest_divisor(batch, rows), reason
    )
    return batch, micro


def _learning_rate(chooser: _Chooser, spec: Spec) -> float:
    adapted = spec.adapter.type != "none"
    reason = "usual for " + ("LoRA" if adapted else "training every weight") + f" with {spec.kind}"
    rate = LEARNING_RATES[spec.kind, adapted]
    return float(chooser.pick("training.learning_rate", spec.training.learning_rate, rate, reason))


def _checkpointing(chooser: _Chooser, spec: Spec, memory_plan: memory.MemoryPlan) -> bool:
    value = memory_plan.needs_checkpointing()
    reason = (
        "activations would not fit in memory otherwise" if value else "activations fit in memory, so keep the speed"
    )
    return bool(
        chooser.pick("training.activation_checkpointing", spec.training.activation_checkpointing, value, reason)
    )


def _eval_every(chooser: _Chooser, spec: Spec, data: Measured, save_every: int) -> int | None:
    if not data.eval_rows:
        return None
    given = spec.evaluation.every_steps
    return int(chooser.pick("evaluation.every_steps", given, save_every, "as often as checkpoints are written"))


def _precompute(chooser: _Chooser, spec: Spec) -> bool:
    if not isinstance(spec, DpoSpec):
        return False
    if spec.adapter.type == "none":
        value, reason = True, "saves holding a second copy of the model in memory"
    else:
        epochs = spec.training.epochs
        value = epochs >= 2 and spec.training.max_steps is None
        reason = (
            f"{epochs:g} epochs would compute the same reference again and again"
            if value
            else "the model without its adapter is the reference, computed on the fly"
        )
    given = spec.preference.precompute_reference
    return bool(chooser.pick("preference.precompute_reference", given, value, reason))


def _loading(chooser: _Chooser, spec: Spec, machine: Machine) -> dict[str, Any]:
    training = spec.training
    workers_reason = "rows are tokenised already: worker processes would cost more than they bring"
    pin = machine.gpu is not None
    pin_reason = "copies to the GPU run beside the computation" if pin else "there is no GPU to copy to"
    return {
        "loader_workers": chooser.pick("training.loader_workers", training.loader_workers, 0, workers_reason),
        "pin_memory": chooser.pick("training.pin_memory", training.pin_memory, pin, pin_reason),
    }
