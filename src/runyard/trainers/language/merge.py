"""The base model with the adapter merged in, and the proof that both compute the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runyard.protocol import folders
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.language import DType, LanguageSpec
from runyard.trainers.failures import TrainingError
from runyard.trainers.language import models

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOLERANCE: dict[DType, float] = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}
"""Largest difference of two logits, as a share of the largest logit. Merged weights are rounded to the format."""


@dataclass(frozen=True)
class Agreement:
    """Logits of adapter and merged model on the same rows."""

    max_difference: float
    relative: float
    same_top_token: float
    """Share of positions where both find the same next token likeliest."""


def merge(
    spec: LanguageSpec,
    dtype: DType,
    rundir: RunDir,
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[Sequence[int]],
    cache: Path,
) -> Agreement:
    """Write `merged/` from the base and `final/`, both read afresh from disk, after comparing logits on `rows`.

    Raises TrainingError(merge_differs); nothing is left in `merged/` then.
    """
    from peft import PeftModel

    base_spec = spec.model.model_copy(update={"quantization": None})
    base = models.load_model(base_spec, dtype, cache, trainable=False)
    adapted = PeftModel.from_pretrained(base, rundir.final).eval()
    expected = logits(adapted, rows)
    with folders.written_whole(rundir.merged) as folder:
        merged = adapted.merge_and_unload()
        merged.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        del merged, adapted, base
        agreement = agree(expected, logits(_saved(folder, dtype), rows))
        if not agreement.relative <= TOLERANCE[dtype]:  # also when it is not a number
            raise TrainingError("merge_differs", _difference(agreement, dtype))
    return agreement


def logits(model: Any, rows: Sequence[Sequence[int]]) -> list[Any]:
    """One (tokens, vocabulary) fp32 tensor a row."""
    import torch

    with torch.no_grad():
        return [model(input_ids=torch.tensor([row], device=model.device)).logits[0].float().cpu() for row in rows]


def agree(expected: Sequence[Any], found: Sequence[Any]) -> Agreement:
    import torch

    one, other = torch.cat(list(expected)), torch.cat(list(found))
    difference = float((one - other).abs().max())
    return Agreement(
        max_difference=difference,
        relative=difference / max(float(one.abs().max()), 1e-12),
        same_top_token=float((one.argmax(-1) == other.argmax(-1)).float().mean()),
    )


def _saved(folder: Path, dtype: DType) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=models.TORCH_DTYPES[dtype], local_files_only=True).eval()


def _difference(agreement: Agreement, dtype: DType) -> str:
    return (
        f"the merged model computes other logits than base and adapter: they differ by up to "
        f"{agreement.max_difference:.3g} ({agreement.relative:.1%} of the largest; {TOLERANCE[dtype]:.1%} is allowed "
        f"in {dtype}). The adapter in final/ is intact; it is the merged copy that was not kept"
    )
