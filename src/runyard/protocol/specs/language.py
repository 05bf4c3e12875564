"""Fine-tuning of language models.

A field left out, or set to null where null is allowed, is chosen from machine and data by the trainer, which
reports the choice with its reason.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from runyard.protocol.specs.run import RunSpec, Section

DType = Literal["bf16", "fp16", "fp32"]
Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"]
Optimizer = Literal["adamw", "adamw_8bit", "adafactor", "sgd"]
PreferenceLoss = Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down"]


class ModelSpec(Section):
    name: str = Field(min_length=1)
    """Hub name (owner/name), local folder, or GGUF file."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    dtype: DType | None = None
    """Number format of weights and arithmetic; from the device unless set."""
    quantization: Literal["4bit", "8bit"] | None = None
    """Load the base model in 4 or 8 bit (bitsandbytes); needs a GPU."""
    trust_remote_code: bool = False
    """Run the code that the model brings with it. On a server, an operator has to allow it for that model."""


class AdapterSpec(Section):
    type: Literal["lora", "dora", "none"] = "lora"
    """`none` trains every weight."""
    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    """Names of the layers that get an adapter."""

    @field_validator("target_modules", mode="before")
    @classmethod
    def all_linear_or_names(cls, value: Any) -> Any:
        is_names = isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)
        if value != "all-linear" and not is_names:
            raise ValueError("must be all-linear, or a list of layer names such as [q_proj, v_proj]")
        return value


class DataSpec(Section):
    train: str = Field(min_length=1)
    """A .jsonl, .csv or .parquet file, `dataset:ID` of an upload, or a hub name (owner/name)."""
    eval: str | None = None
    """A second source to evaluate on."""
    eval_split: float | None = Field(default=None, gt=0, lt=1)
    """Share of the training rows held out for evaluation, drawn with the job's seed."""
    split: str = "train"
    """Split of a hub data set."""
    subset: str | None = None
    """Configuration of a hub data set."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name to the file's, such as `prompt: question`."""
    max_rows: int | None = Field(default=None, ge=1)
    """Use only the first rows."""
    drop_bad_rows: bool = False
    """Leave out rows that fail the check, and count them, instead of refusing the set."""

    @model_validator(mode="after")
    def one_evaluation_source(self) -> "DataSpec":
        if self.eval is not None and self.eval_split is not None:
            raise ValueError("set either eval or eval_split, not both")
        return self


class TrainingSpec(Section):
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimizer steps; wins over epochs."""
    batch_size: int | None = Field(default=None, ge=1)
    """Rows (packed sequences, when packing) in one optimizer step."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Rows in one forward pass; the rest of the batch is accumulated."""
    max_length: int = Field(default=1024, ge=8)
    """Tokens after which a row is cut."""
    packing: bool | None = None
    """Join short rows into full sequences (best-fit decreasing). SFT only."""
    group_by_length: bool | None = None
    """Put rows of like length into one batch, when not packing."""
    learning_rate: float | None = Field(default=None, gt=0)
    schedule: Schedule = "cosine"
    warmup: float = Field(default=0.03, ge=0)
    """Below 1: share of all steps; otherwise a number of steps."""
    optimizer: Optimizer = "adamw"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    activation_checkpointing: bool | None = None
    """Trade time for memory by computing activations twice."""
    train_on: Literal["assistant", "last", "all"] = "assistant"
    """Trained tokens: every assistant turn (a completion counts as one), only the last, or all."""
    loader_workers: int | None = Field(default=None, ge=0)
    pin_memory: bool | None = None
    log_every: int = Field(default=1, ge=1)
    """Optimizer steps between two reports."""
    seed: int = Field(default=42, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def batch_is_whole(self) -> "TrainingSpec":
        if self.batch_size and self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self


class EvaluationSpec(Section):
    every_steps: int | None = Field(default=None, ge=1)
    """Unless set, as often as checkpoints are written."""
    batch_size: int | None = Field(default=None, ge=1)
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop when the evaluation loss has not improved this many times in a row."""
    early_stopping_min_delta: float = Field(default=0.0, ge=0)


class CheckpointSpec(Section):
    every_steps: int | None = Field(default=None, ge=1)
    """Unless set, a tenth of the run."""
    keep: int = Field(default=2, ge=2)
    """The best and the last are always kept."""


class OutputSpec(Section):
    merge: bool = False
    """Write the base model with the adapter merged in as well, after checking that both give the same logits."""


class PreferenceSpec(Section):
    beta: float = Field(default=0.1, gt=0)
    loss: PreferenceLoss = "sigmoid"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    precompute_reference: bool | None = None
    """Compute the reference log-probabilities once before training; needed for full fine-tuning in little memory."""


LONGEST_PROMPT, MOST_PROMPTS = 4000, 8
PromptText = Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]


class PromptMessage(Section):
    role: Literal["system", "user", "assistant"]
    content: PromptText


Conversation = Annotated[list[PromptMessage], Field(min_length=1, max_length=20)]
Prompt = Annotated[
    Annotated[PromptText, Tag("text")] | Annotated[Conversation, Tag("messages")],
    Discriminator(lambda value: "messages" if isinstance(value, list) else "text"),
]


class SampleSpec(Section):
    prompts: list[Prompt] = Field(default_factory=list, max_length=MOST_PROMPTS)
    """Each a text, or a list of messages with role and content. A text is what a user says where the data are
    conversations, and is gone on with where they are plain text."""
    from_eval: int | None = Field(default=None, ge=1, le=MOST_PROMPTS)
    """Ask the first so many evaluation rows as well, and show the wanted answers beside."""
    max_new_tokens: int = Field(default=64, ge=1, le=512)
    """Tokens after which an answer is cut."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 takes the likeliest token each time; above, answers are drawn with the job's seed."""
    every_checkpoint: bool = True
    """Unless set, only the base model and the end of the training are asked."""

    @model_validator(mode="after")
    def asks_something(self) -> "SampleSpec":
        if not self.prompts and self.from_eval is None:
            raise ValueError("set prompts, from_eval, or both")
        if any(not isinstance(prompt, str) and prompt[-1].role == "assistant" for prompt in self.prompts):
            raise ValueError("a prompt ends with what is to be answered, not with an answer")
        if len(self.prompts) + (self.from_eval or 0) > MOST_PROMPTS:
            raise ValueError(f"prompts and from_eval ask {MOST_PROMPTS} at most together")
        return self


SHORT_FORMS = {"model": "name", "data": "train", "adapter": "type"}


def long_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`model: NAME`, `data: FILE`, `adapter: none` and `samples: [PROMPT]` stand for their full sections."""
    long = dict(fields)
    if isinstance(long.get("samples"), list):
        long["samples"] = {"prompts": long["samples"]}
    for section, field in SHORT_FORMS.items():
        if isinstance(long.get(section), str):
            long[section] = {field: long[section]}
    return long


class LanguageSpec(RunSpec):
    """What every language-model job has."""

    model: ModelSpec
    adapter: AdapterSpec = AdapterSpec()
    data: DataSpec
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    output: OutputSpec = OutputSpec()
    samples: SampleSpec | None = None
    """The same few prompts, answered by the base model and at each checkpoint."""
    continue_from: str | None = Field(default=None, min_length=1)
    """Start from a checkpoint of another job: JOB for its newest, or JOB:STEP; with `runyard train` its folder. With
    all else the same it goes on as if it had never ended; else with those weights and a new optimizer."""

    @model_validator(mode="before")
    @classmethod
    def accept_short_forms(cls, value: Any) -> Any:
        return long_form(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def evaluation_has_data(self) -> "LanguageSpec":
        has_data = self.data.eval is not None or self.data.eval_split is not None
        if self.evaluation.early_stopping_patience is not None and not has_data:
            raise ValueError("evaluation.early_stopping_patience needs data.eval or data.eval_split")
        if self.samples is not None and self.samples.from_eval is not None and not has_data:
            raise ValueError("samples.from_eval needs data.eval or data.eval_split")
        if self.adapter.type == "none" and self.model.quantization is not None:
            raise ValueError("a quantized model can't be fully fine-tuned: set adapter.type to lora")
        if self.adapter.type == "none" and self.output.merge:
            raise ValueError("output.merge needs an adapter to merge")
        if (self.resources.gpus or 0) > 1:
            raise ValueError("resources.gpus: this trainer uses one GPU at most")
        return self


class SftSpec(LanguageSpec):
    """Supervised fine-tuning of a language model."""

    kind: Literal["sft"] = "sft"


class DpoSpec(LanguageSpec):
    """Direct preference optimisation of a language model (Rafailov et al., 2023, arXiv:2305.18290)."""

    kind: Literal["dpo"] = "dpo"
    preference: PreferenceSpec = PreferenceSpec()

    @model_validator(mode="after")
    def no_packing(self) -> "DpoSpec":
        if self.training.packing:
            raise ValueError("training.packing is for sft: preference pairs can't be packed")
        return self
