"""What must not change between the start of a run and its resumption."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runyard.protocol.rundir import RunDir, write_atomically
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers.failures import TrainingError
from runyard.trainers.language.choices import Choice, Plan

FREE = frozenset({"micro_batch_size", "activation_checkpointing", "loader_workers", "pin_memory", "log_every"})
"""Settings of `training` that may differ when a run is resumed: the optimizer's steps stay the same."""

NEW = frozenset({"trust_remote_code"})
"""Runs that began before there were these have no word of them; unless they are set, nor has any other."""


def path(rundir: RunDir) -> Path:
    return rundir.root / "choices.json"


def save(rundir: RunDir, spec: SftSpec | DpoSpec, fingerprint: str, plan: Plan, choices: list[Choice]) -> None:
    content = {
        "fingerprint": fingerprint,
        "spec": _locked(spec),
        "plan": plan.model_dump(),
        "choices": [choice.model_dump() for choice in choices],
    }
    write_atomically(path(rundir), json.dumps(content, indent=2) + "\n")


def load(rundir: RunDir, spec: SftSpec | DpoSpec, fingerprint: str, step: int) -> dict[str, Any]:
    """The plan that the run began with. Raises TrainingError when job or data are no longer those of the checkpoint."""
    content = read(rundir)
    if content is None:
        raise TrainingError(
            "bad_config", f"can't resume at step {step}: {path(rundir).name}, written when the run began, is missing"
        )
    if changed := differences(content, spec):
        raise TrainingError(
            "bad_config",
            f"can't resume at step {step}, the job was changed since: {'; '.join(changed)}. "
            "Change it back, or start a new job",
        )
    if content["fingerprint"] != fingerprint:
        raise TrainingError(
            "bad_data",
            f"can't resume at step {step}: the training data are not those that the run began with. "
            "Bring the old file back, or start a new job",
        )
    plan: dict[str, Any] = content["plan"]
    return plan


def read(rundir: RunDir) -> dict[str, Any] | None:
    """What `save` wrote, if it did."""
    try:
        content: dict[str, Any] = json.loads(path(rundir).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return content


def differences(content: Mapping[str, Any], spec: SftSpec | DpoSpec) -> list[str]:
    """How a job differs from the one that `content` was saved for, in words; writing down what was chosen is none."""
    before, after = (_in_effect(values, content["plan"]) for values in (content["spec"], _locked(spec)))
    return [
        f"{name} was {before.get(name)!r}, is {after.get(name)!r}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def _locked(spec: SftSpec | DpoSpec) -> dict[str, Any]:
    """Dotted names and values of everything that shapes the weights; data are compared by their fingerprint."""
    sections = ["model", "adapter", "training"] + (["preference"] if isinstance(spec, DpoSpec) else [])
    dumped = spec.model_dump(include=set(sections))
    return {
        f"{section}.{name}": value
        for section in sections
        for name, value in dumped[section].items()
        if not (section == "training" and name in FREE) and (value or name not in NEW)
    }


def _in_effect(values: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plan.get(name.rpartition(".")[2]) if value is None else value for name, value in values.items()}
