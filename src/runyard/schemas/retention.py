"""What is removed by itself, and when."""

from pydantic import BaseModel

from runyard.domain.retention import What
from runyard.schemas.jobs import Read


class RetentionItem(Read):
    what: What
    name: str
    """Of the job, or of the thing in the cache."""
    job_id: str | None
    step: int | None
    """Of a checkpoint."""
    why: str
    size_bytes: int


class CleanupRead(Read):
    """Times are null when there was none; `failed` says what could not be removed, and why."""

    asked_at: float | None = None
    ended_at: float | None = None
    removed: int = 0
    freed_bytes: int = 0
    failed: str | None = None


class RetentionRead(BaseModel):
    """Nothing is removed by asking; `spared` are jobs that would go but for the reason given."""

    items: list[RetentionItem]
    spared: list[RetentionItem]
    size_bytes: int
    last: CleanupRead


class KeepAsk(BaseModel):
    keep: bool = True
