"""Our spec and plan in TRL's words: the one place that knows its names."""

from typing import Any

from runyard.protocol.specs.language import DpoSpec, Optimizer, SftSpec
from runyard.trainers.language.trl_trainers import Guide

OPTIMIZERS: dict[Optimizer, str] = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "adafactor": "adafactor",
    "sgd": "sgd",
}


def sft_config(spec: SftSpec, guide: Guide, *, on_gpu: bool) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        **_common(spec, guide, on_gpu=on_gpu),
        max_length=spec.training.max_length,
        packing=guide.plan.packing,
        packing_strategy="bfd",
        eval_packing=False,
    )


def dpo_config(spec: DpoSpec, guide: Guide, *, on_gpu: bool) -> Any:
    from trl import DPOConfig

    return DPOConfig(
        **_common(spec, guide, on_gpu=on_gpu),
        max_length=spec.training.max_length,
        beta=spec.preference.beta,
        loss_type=[spec.preference.loss],
        label_smoothing=spec.preference.label_smoothing,
        precompute_ref_log_probs=guide.plan.precompute_reference,
        precompute_ref_batch_size=guide.plan.eval_batch_size,
    )


def _common(spec: SftSpec | DpoSpec, guide: Guide, *, on_gpu: bool) -> dict[str, Any]:
    training, plan = spec.training, guide.plan
    return {
        "output_dir": str(guide.rundir.root),
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        "per_device_train_batch_size": plan.micro_batch_size,
        "per_device_eval_batch_size": plan.eval_batch_size,
        "gradient_accumulation_steps": plan.accumulation,
        "gradient_checkpointing": plan.activation_checkpointing,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": training.warmup if training.warmup < 1 else int(training.warmup),
        "optim": OPTIMIZERS[training.optimizer],
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "bf16": plan.dtype == "bf16",
        "fp16": plan.dtype == "fp16",
        "use_cpu": not on_gpu,
        "seed": training.seed,
        "data_seed": training.seed,
        "dataloader_num_workers": plan.loader_workers,
        "dataloader_persistent_workers": plan.loader_workers > 0,
        "dataloader_pin_memory": plan.pin_memory,
        "logging_steps": training.log_every,
        "logging_nan_inf_filter": False,  # it would show a NaN loss as 0
        "eval_strategy": "steps" if plan.eval_every else "no",
        "eval_steps": plan.eval_every,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "save_steps": plan.save_every,
        "save_total_limit": None,  # rotation is ours
        "report_to": [],
        "disable_tqdm": True,
    }
