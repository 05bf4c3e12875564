"""Jobs and what belongs to one."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from runyard.domain.lifecycle import State
from runyard.protocol.events import Snapshot
from runyard.protocol.specs.run import Priority


class Read(BaseModel):
    """Made from a row as it is."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class JobRead(Read):
    id: str
    kind: str
    name: str
    state: State
    priority: Priority
    reason: str | None
    """Why it failed, as a word for programs."""
    message: str | None
    """Why it failed, as a sentence."""
    queue_position: int | None
    """Counted from 1 over the whole queue; null unless queued."""
    wait_cause: str | None
    not_before: float | None
    """It does not start before this time, whatever room there is."""
    failures: int
    """Tries in a row that failed and were followed by another without anybody asking."""
    attempts: int
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
    gpus: list[int]
    created_at: float
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    exit_signal: int | None
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


class JobDetail(JobRead):
    spec: dict[str, Any]
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
    """`next_offset` is where to read on in one stream; null for both streams together."""

    lines: list[str]
    next_offset: int | None
    ended: bool = Field(description="True when the job has ended and everything was read.")
