"""What lists, figures, curves and samples are read from, kept up to date while events come in."""

from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from runyard.db.tables.base import OfJob, Table, Tenanted

SHOWN = text("removed_at IS NULL")


class Facts:
    """Columns of a job that lists are filtered and sorted by: the few figures that a row of a list shows."""

    model: Mapped[str | None]
    """As it was asked for."""
    experiment: Mapped[str | None]
    tags: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    search: Mapped[str | None]
    """Name, model, tags and id in one line of small letters: a domain.listing.line."""
    best_name: Mapped[str | None]
    """Of the value that the job is judged by: `eval_loss` where it evaluates, else `loss`."""
    best_value: Mapped[float | None]
    best_step: Mapped[int | None]
    last_loss: Mapped[float | None]
    throughput: Mapped[float | None]
    """Samples a second."""
    duration: Mapped[float | None]
    """Seconds in which it held a machine; since `active_since` it holds one, and that time is not in it yet."""
    active_since: Mapped[float | None]
    training_seconds: Mapped[float | None]
    gpu_utilization: Mapped[float | None]
    """Percent, the mean of what was reported."""
    peak_gpu_memory_mb: Mapped[float | None]

    @property
    def best(self) -> dict[str, Any] | None:
        """What it is judged by, where there is anything yet."""
        if self.best_value is None:
            return None
        return {"name": self.best_name, "value": self.best_value, "step": self.best_step}


def list_index(name: str, *first: str) -> Index:
    """An order that lists are read in. It holds all that they are filtered by, so that a filter that lets few rows pass
    does not have to look at the long rows of those that it keeps back."""
    columns = ("tenant", *first, "created_at", "id", "state", "user", "kind", "experiment", "priority", "search")
    return Index(f"ix_jobs_by_{name}", *columns, sqlite_where=SHOWN, postgresql_where=SHOWN)


LISTS = (
    list_index("date"),
    list_index("loss", "best_value"),
    list_index("throughput", "throughput"),
    list_index("duration", "duration"),
)


class Rollup(OfJob, Table):
    """All that a job's events have come to, in one row: a domain.rollups.Rollup."""

    __tablename__ = "rollups"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    content: Mapped[dict[str, Any]]


class Series(OfJob, Table):
    """A thousand points or so of one value in columns, as they are not changed any more: a domain.packing.Packed."""

    __tablename__ = "series"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    split: Mapped[str]
    name: Mapped[str]
    first_step: Mapped[int]
    last_step: Mapped[int]
    tally: Mapped[list[Any]]
    """What they come to: a domain.rollups.Tally."""
    stride: Mapped[int | None]
    """Between their steps, where it is the same for all."""
    steps: Mapped[bytes | None] = mapped_column(LargeBinary())
    times: Mapped[bytes] = mapped_column(LargeBinary())
    numbers: Mapped[bytes] = mapped_column(LargeBinary())
    began_at: Mapped[float]

    __table_args__ = (PrimaryKeyConstraint("job_id", "split", "name", "first_step"),)


class Sample(OfJob, Table):
    """What the model answered to one of its job's prompts at a step; step 0 is the base model."""

    __tablename__ = "samples"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    """Of the prompt."""
    attempt: Mapped[int]
    at: Mapped[float]
    prompt: Mapped[str]
    answer: Mapped[str]
    wanted: Mapped[str | None]
    truncated: Mapped[bool]


class JobTotal(Tenanted, Table):
    """What a tenant's jobs of one state come to. The database itself adds and takes away when a row of jobs changes."""

    __tablename__ = "job_totals"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    jobs: Mapped[int]
    trained: Mapped[int]
    """How many of them have a training time, and so on."""
    training_seconds: Mapped[float]
    measured: Mapped[int]
    throughput: Mapped[float]
    watched: Mapped[int]
    gpu_utilization: Mapped[float]
    weighed: Mapped[int]
    peak_gpu_memory_mb: Mapped[float]
