"""Direct preference optimisation: TRL's DPOTrainer over pairs that are tokens already.

The reference is the model before training. With an adapter it is the model with the adapter switched off, so the model
is handed over bare with the adapter's config: a model with an adapter attached would get a second, frozen adapter.
"""

from typing import TYPE_CHECKING, Any

from runyard.protocol.specs.language import DpoSpec
from runyard.trainers.language import arguments, models
from runyard.trainers.language.trl_trainers import Guide, GuidedDpoTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from runyard.trainers.text.prepare import Prepared


def trainer(
    spec: DpoSpec,
    guide: Guide,
    prepared: "Prepared",
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
) -> Any:
    """A trainer that is ready to train; when the reference is computed beforehand, that has happened."""
    built = GuidedDpoTrainer(
        guide=guide,
        model=model,
        ref_model=_second_copy(spec, guide),
        args=arguments.dpo_config(spec, guide, on_gpu=guide.on_gpu),
        train_dataset=prepared.train,
        eval_dataset=prepared.eval,
        processing_class=tokenizer,
        peft_config=models.adapter_config(spec),
    )
    _switch_adapter_dropout_on(built.model, spec.adapter.dropout)
    return built


def _second_copy(spec: DpoSpec, guide: Guide) -> "PreTrainedModel | None":
    """TRL would load it by the model's name, which is no model folder when it is a GGUF file."""
    if spec.adapter.type != "none" or guide.plan.precompute_reference:
        return None
    return models.load_model(spec.model, guide.plan.dtype, guide.cache, trainable=True)


def _switch_adapter_dropout_on(model: Any, share: float) -> None:
    """TRL switches all dropout off, so that model and reference agree; the adapter's is not part of the reference."""
    for name, module in model.named_modules():
        if ".lora_dropout." in name and hasattr(module, "p"):
            module.p = share
