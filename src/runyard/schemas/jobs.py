"""Jobs and what belongs to one."""

from typing import Any, Self

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, model_validator

from runyard.domain.lifecycle import State
from runyard.protocol.events import Snapshot
from runyard.protocol.specs.run import Priority
from runyard.schemas.facts import Facts


class Read(BaseModel):
    """Made from a row as it is."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class PlaceRead(Read):
    machine: str
    gpus: list[int]


class TemplateName(BaseModel):
    name: str
    version: int


class JobRead(Facts, Read):
    id: str
    kind: str
    name: str
    user: str
    """Whose it is: who submitted it, or its schedule."""
    state: State
    priority: Priority
    reason: str | None
    """Why it failed, as a word for programs."""
    message: str | None
    """Why it failed, as a sentence."""
    queue_position: int | None = None
    """Counted from 1 over the whole queue; null unless it stands in it."""
    wait_cause: str | None
    """Why it waits, its place, and for how long about where that can be known."""
    expected_start: float | None
    expected_place: PlaceRead | None = None
    """Null while nobody can know it."""
    returns: bool
    """It is being paused, but goes on by itself: it makes room for an urgent job, or its pause was taken back."""
    not_before: float | None
    """It does not start before this time, whatever room there is."""
    failures: int
    """Tries in a row that failed and were followed by another without anybody asking."""
    attempts: int
    schedule_id: str | None
    """The schedule that submitted it."""
    template: TemplateName | None = None
    """What it was made from; how it differs from that is at `/jobs/{job_id}/template`."""
    kept: bool
    """Nothing of it is removed by itself."""
    logs_removed_at: float | None
    """When what it had written to its output and errors by then was removed."""
    parent_id: str | None
    """The job from whose checkpoint it started, or that failed before it was changed to this one."""
    estimated_seconds: float | None
    """How long it will take from its start, going by finished jobs like it."""
    snapshot: Snapshot | None
    """The newest state of the run: phase, step, loss, pace."""
    created_at: float
    started_at: float | None
    finished_at: float | None
    updated_at: float


class AttemptRead(Read):
    number: int
    executor: str
    machine: str | None
    pid: int | None = Field(default=None, validation_alias=AliasChoices("pid", AliasPath("process", "trainer", "pid")))
    """Of its first process, on that machine."""
    boot_id: str | None = Field(default=None, validation_alias=AliasChoices("boot_id", AliasPath("process", "boot_id")))
    """Since which start of the machine the process number counts."""
    gpus: list[int]
    created_at: float
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    exit_signal: int | None
    stop_reason: str | None
    """Why it was ended without anybody asking: `stalled` or `timeout`."""
    released_at: float | None
    """When its GPUs were seen to be free, or put aside."""
    reason: str | None
    message: str | None


class MoveRead(Read):
    at: float
    before: State | None
    after: State
    cause: str
    actor: str
    attempt: int | None
    reason: str | None
    message: str | None


class ChangeRead(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    field: str
    """Such as `training.micro_batch_size`."""
    before: Any = Field(alias="from", description="What was in effect; null for nothing.")
    after: Any = Field(alias="to")


class ChoiceRead(BaseModel):
    """One way on after a failure, and what is to be expected of it."""

    effect: str
    changes: list[ChangeRead]
    goes_on: bool
    """The new job goes on from the newest checkpoint: with these changes its steps stay the same."""
    from_step: int
    """Where it would begin."""
    seconds: float | None
    """How long it would then take; null where nobody can know."""


class AdviceRead(BaseModel):
    explanation: str
    choices: list[ChoiceRead]
    """The least change first; without any, there is something for a person to do."""


class Retry(BaseModel):
    """How to try again."""

    model_config = ConfigDict(extra="forbid")

    fix: bool = False
    """As a new job, with changes that the advice names."""
    choice: int = Field(1, ge=1, le=100)
    """With `fix`: which of the advice's choices, counted from 1."""

    @model_validator(mode="after")
    def _choice_is_of_a_fix(self) -> Self:
        if "choice" in self.model_fields_set and not self.fix:
            raise ValueError("choice is of the changes to make: it needs fix: true")
        return self


class JobDetail(JobRead):
    spec: dict[str, Any]
    advice: AdviceRead | None
    """What to do about a failure."""
    attempt_history: list[AttemptRead]
    moves: list[MoveRead]


class EventRead(Read):
    """One entry of the feed; `id` is the cursor to ask on from."""

    id: int
    job_id: str
    at: float
    type: str
    data: dict[str, Any]


class MetricRead(Read):
    step: int
    split: str
    at: float
    values: dict[str, float | None]


class CheckpointRead(Read):
    step: int
    path: str
    size_bytes: int
    metrics: dict[str, float | None]
    best: bool
    files: dict[str, str]
    """SHA-256 by file name."""
    created_at: float
    removed_at: float | None


class LogLines(BaseModel):
    """`next_offset` is where to read on in one stream; null for both together, which `next_offsets` has each of."""

    lines: list[str]
    next_offset: int | None
    next_offsets: dict[str, int]
    ended: bool = Field(description="True when the job has ended and everything was read.")
