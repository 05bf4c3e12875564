"""What a trainer reports: one JSON object a line in `events.jsonl`, numbered from 1 without gaps."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

Phase = Literal["preparing", "loading", "training", "evaluating", "saving", "merging"]
Outcome = Literal["completed", "stopped", "failed"]
FailureReason = Literal[
    "bad_data", "bad_config", "model_not_found", "missing_package", "gpu_out_of_memory", "out_of_memory",
    "loss_not_finite", "loss_exploded", "disk_full", "merge_differs", "error",
]  # fmt: skip
Split = Literal["train", "eval"]
Level = Literal["info", "warning", "error"]
ArtifactKind = Literal["model", "merged_model", "checkpoint", "log", "report"]

LONGEST_SAMPLE = 8000
MOST_SAMPLES = 16
"""At one step."""
SampleText = Annotated[str, AfterValidator(lambda text: text[:LONGEST_SAMPLE])]


class Event(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int = Field(ge=1)
    """Number in the file."""
    at: float
    """Seconds since the epoch."""
    attempt: int = Field(ge=1)


class PhaseEvent(Event):
    """The trainer entered a phase."""

    type: Literal["phase"] = "phase"
    phase: Phase


class ProgressEvent(Event):
    """How far the phase is; the unit of `step` is rows while preparing, optimizer steps while training."""

    type: Literal["progress"] = "progress"
    phase: Phase
    step: int
    total_steps: int | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    batch: int | None = None
    """Batches done where no steps are taken, such as in a long evaluation: it is at work, though no step moves."""


class MetricEvent(Event):
    """Values at one optimizer step; null stands for a value that is not finite."""

    type: Literal["metric"] = "metric"
    step: int
    split: Split = "train"
    values: dict[str, float | None]


class CheckpointEvent(Event):
    """A checkpoint is complete. `path` is relative to the run folder; `files` gives the SHA-256 of each file in it."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    size_bytes: int
    metrics: dict[str, float | None] = Field(default_factory=dict)
    best: bool = False
    files: dict[str, str] = Field(default_factory=dict)


class CheckpointRemovedEvent(Event):
    """A checkpoint was rotated away."""

    type: Literal["checkpoint_removed"] = "checkpoint_removed"
    step: int


class ResumedEvent(Event):
    """An attempt goes on from a checkpoint; metrics after `step` from earlier attempts no longer count."""

    type: Literal["resumed"] = "resumed"
    step: int
    checkpoint: str | None


class ArtifactEvent(Event):
    """A file that is kept. `path` is relative to the run folder."""

    type: Literal["artifact"] = "artifact"
    path: str
    kind: ArtifactKind
    size_bytes: int
    sha256: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class SampleEvent(Event):
    """What the model answered to a prompt at a step; step 0 is the base model. Texts are cut at LONGEST_SAMPLE."""

    type: Literal["sample"] = "sample"
    step: int
    index: int = Field(ge=0, lt=MOST_SAMPLES)
    """Of the prompt; the same at every step."""
    prompt: SampleText
    answer: SampleText
    wanted: SampleText | None = None
    """What the data have as the answer."""
    truncated: bool = False
    """The answer did not end by itself."""


class MessageEvent(Event):
    """A sentence for people."""

    type: Literal["message"] = "message"
    level: Level = "info"
    text: str
    data: dict[str, Any] = Field(default_factory=dict)


class FinishedEvent(Event):
    """The trainer's last word. `stopped` means that it saved, or was told not to, and left when asked."""

    type: Literal["finished"] = "finished"
    outcome: Outcome
    reason: FailureReason | None = None
    message: str = ""


AnyEvent = Annotated[
    PhaseEvent
    | ProgressEvent
    | MetricEvent
    | CheckpointEvent
    | CheckpointRemovedEvent
    | ResumedEvent
    | ArtifactEvent
    | SampleEvent
    | MessageEvent
    | FinishedEvent,
    Field(discriminator="type"),
]
any_event: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


HEADLINES = frozenset(
    {"loss", "eval_loss", "learning_rate", "samples_per_second", "tokens_per_second", "iteration_seconds"}
)
"""Metrics that have a field of their own in the snapshot."""


class Snapshot(BaseModel):
    """`progress.json`: the newest state of a run."""

    model_config = ConfigDict(extra="ignore")

    n: int = 0
    at: float = 0.0
    attempt: int = 1
    phase: Phase | None = None
    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    iteration_seconds: float | None = None
    values: dict[str, float | None] = Field(default_factory=dict)
    """Every newest value, GPU figures among them."""
    outcome: Outcome | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """Move on by one event, given as its JSON object."""
        if event["attempt"] != self.attempt:
            self.outcome = None
        self._set(event, ("n", "at", "attempt"))
        match event["type"]:
            case "phase":
                self._enter(event["phase"])
            case "resumed":
                self.step = event["step"]
            case "progress":
                self._set(event, ("phase", "step", "total_steps", "epoch", "eta_seconds"))
            case "metric":
                self.values.update(event["values"])
                self._set(event["values"], HEADLINES & event["values"].keys())
            case "finished":
                self.outcome = event["outcome"]

    def _set(self, values: Mapping[str, Any], names: Iterable[str]) -> None:
        for name in names:
            self.__dict__[name] = values[name]  # what pydantic's own way amounts to, ten thousand times a second

    def _enter(self, phase: Phase) -> None:
        if (self.phase == "preparing") != (phase == "preparing"):  # rows are not optimizer steps
            self.step, self.total_steps, self.epoch, self.eta_seconds = 0, None, None, None
        self.phase = phase
