"""Everything that can be known to be wrong before the model's weights are loaded."""

from pathlib import Path
from typing import Any

from runyard.data.errors import DataError
from runyard.protocol.problems import Problem
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers.failures import TrainingError
from runyard.trainers.language import choices, models
from runyard.trainers.machine import Machine
from runyard.trainers.text import prepare, prompts


def settings_problems(spec: SftSpec | DpoSpec, machine: Machine) -> list[Problem]:
    """What the job asks for and this machine, or the method, can't do."""
    problems = []
    if text := models.quantization_problem(spec.model, machine):
        problems.append(Problem(field="model.quantization", message=text))
    if spec.training.optimizer == "adamw_8bit" and machine.gpu is None:
        problems.append(Problem(field="training.optimizer", message="adamw_8bit needs an NVIDIA GPU: use adamw"))
    if spec.model.dtype == "fp16" and machine.gpu is None:
        problems.append(Problem(field="model.dtype", message="fp16 training needs a GPU: use fp32 or bf16"))
    if spec.resources.gpus and machine.gpu is None:
        problems.append(Problem(field="resources.gpus", message="there is no GPU that PyTorch can use here"))
    targets = spec.adapter.target_modules
    if spec.adapter.type != "none" and "lm_head" in targets:
        problems.append(
            Problem(field="adapter.target_modules", message="lm_head can't have an adapter: its loss is fused with it")
        )
    if isinstance(spec, DpoSpec) and spec.preference.label_smoothing and spec.preference.loss != "robust":
        problems.append(
            Problem(field="preference.label_smoothing", message="has an effect with loss: robust only; set it to 0")
        )
    return problems


def check(spec: SftSpec | DpoSpec, machine: Machine, cache: Path) -> dict[str, Any]:
    """Problems, warnings, the report on the data and the choices: what `--check` prints."""
    problems = settings_problems(spec, machine)
    result: dict[str, Any] = {"problems": problems, "warnings": [], "report": None, "choices": []}
    try:
        config = models.load_config(spec.model, cache)
        tokenizer = models.load_tokenizer(spec.model, cache)
        prepared = prepare.prepare(spec, tokenizer, lambda done, total: None, cache)
        prompts.read(spec, tokenizer, prepared.eval, models.shape(config).max_positions)
    except DataError as error:
        problems.extend(error.problems)
    except TrainingError as error:
        problems.append(Problem(field="model.name", message=str(error)))
    else:
        shape = models.shape(config)
        result["report"] = report = data_summary(prepared.report)
        result["warnings"] = [*prepared.report.warnings, *position_warnings(spec, shape)]
        result["choices"] = choices.choose(spec, prepared.report, machine, shape)[1]
        report["model_parameters"] = shape.parameters
    return result


def data_summary(report: "prepare.DataReport") -> dict[str, Any]:
    """The report's counts, with the lengths of all rows summed up."""
    lengths = report.lengths
    return {
        name: getattr(report, name)
        for name in ("rows", "eval_rows", "dropped", "truncated", "untrained", "duplicates", "tokens", "trained_tokens")
    } | {
        "longest": max(lengths),
        "mean_length": round(sum(lengths) / len(lengths), 1),
        "end_of_turn_trained": report.end_of_turn_trained,
        "fingerprint": report.fingerprint,
    }


def position_warnings(spec: SftSpec | DpoSpec, shape: models.ModelShape) -> list[str]:
    limit = shape.max_positions
    if limit is None or spec.training.max_length <= limit:
        return []
    return [f"training.max_length is {spec.training.max_length}, but the model was made for {limit} tokens"]
