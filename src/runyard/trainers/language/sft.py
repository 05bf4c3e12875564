"""Supervised fine-tuning: TRL's SFTTrainer over rows that are tokens already."""

from typing import TYPE_CHECKING, Any

from runyard.protocol.specs.language import SftSpec
from runyard.trainers.language import arguments, models
from runyard.trainers.language.trl_trainers import Guide, GuidedSftTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from runyard.trainers.text.prepare import Prepared


def trainer(
    spec: SftSpec,
    guide: Guide,
    prepared: "Prepared",
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
) -> Any:
    """A trainer that has the adapter attached and is ready to train."""
    train = prepared.train.select_columns(["input_ids", "labels"])
    if guide.plan.packing:
        train = packed(train, spec.training.max_length)
    return GuidedSftTrainer(
        guide=guide,
        model=model,
        args=arguments.sft_config(spec, guide, on_gpu=guide.on_gpu),
        train_dataset=train,
        eval_dataset=prepared.eval,
        processing_class=tokenizer,
        peft_config=models.adapter_config(spec),
    )


def packed(rows: "Dataset", size: int) -> "Dataset":
    """Rows side by side in sequences of at most `size` tokens, best fit first; each row still sees only itself."""
    from trl import pack_dataset

    return pack_dataset(rows, size, "bfd")
