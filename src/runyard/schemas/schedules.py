"""Jobs that are submitted at a time or by a cron line."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from runyard.protocol.specs import JobSpec
from runyard.schemas.jobs import Read


class ScheduleAsk(BaseModel):
    """Either `cron` or `at`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    spec: JobSpec
    """The job, as it would be submitted now."""
    cron: str | None = None
    """Minute, hour, day of month, month, day of week: `0 2 * * *` is every night at two."""
    at: str | None = None
    """One time, such as 2026-12-01T02:00; in `timezone` unless it has an offset of its own."""
    timezone: str = "UTC"
    """Such as Europe/Berlin."""
    name: str | None = Field(default=None, min_length=1, max_length=100)
    """No two have the same; that of the job unless set."""


class OccurrenceRead(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    due: float
    at: float
    """Later than `due` when no server ran, or where there was no room."""
    job_id: str | None
    """The job that was queued."""
    error: str | None
    """Why none was."""


class ScheduleRead(Read):
    id: str
    name: str
    cron: str | None
    at: float | None
    timezone: str
    paused: bool
    next_at: float | None
    """Null when it is paused or over."""
    last_at: float | None
    """When it last submitted a job, or tried to."""
    last_job_id: str | None
    last_error: str | None
    """Why its last job was not queued."""
    history: list[OccurrenceRead]
    """What became of its last twenty times, oldest first."""
    created_at: float
    spec: dict[str, Any]
