"""The whole schema on one page. Times are seconds since the epoch."""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, Text, UniqueConstraint, false
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON().with_variant(postgresql.JSONB(), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers by itself only in an INTEGER column


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Json, list[Any]: Json, str: Text()}  # noqa: RUF012 - declared so by SQLAlchemy


class Job(Table):
    """What was asked, and how far it is."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    """As asked for."""
    resolved_spec: Mapped[dict[str, Any]]
    """With every default and absolute paths: what the run folder's spec.json holds."""
    user: Mapped[str] = mapped_column(default="local", server_default="local")
    """Whose quota it counts against."""
    priority: Mapped[str]
    gpus: Mapped[int | None]
    gpu_memory_mb: Mapped[int | None]
    """Of each of its GPUs; null takes them whole."""
    cpus: Mapped[float | None]
    memory_mb: Mapped[int | None]
    resumable: Mapped[bool] = mapped_column(default=False, server_default=false())
    """May be paused for an urgent job."""
    state: Mapped[str]
    reason: Mapped[str | None]
    """Why it failed: a word for programs."""
    message: Mapped[str | None]
    """Why it failed: a sentence for people."""
    wait_cause: Mapped[str | None]
    expected_start: Mapped[float | None]
    """Where that can be known."""
    not_before: Mapped[float | None]
    """Waits until then, whatever room there is."""
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    """Tries in a row that failed without anybody asking for another."""
    yields_to: Mapped[str | None]
    """The urgent job that it is being paused for."""
    parent_id: Mapped[str | None]
    """The job from whose checkpoint it went on, or whose copy with a change it is."""
    schedule_id: Mapped[str | None]
    data_sha256: Mapped[dict[str, Any] | None]
    """Of each of its data files when it was submitted, by field."""
    workload: Mapped[str | None]
    """The same for jobs whose durations can be compared."""
    work: Mapped[float | None]
    """How much of it there is to do."""
    estimated_seconds: Mapped[float | None]
    """From finished jobs like it."""
    kept: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Nothing of it is ever removed by itself."""
    logs_removed_at: Mapped[float | None]
    removed_at: Mapped[float | None]
    """It is gone for everybody; its files go first, then this row."""
    snapshot: Mapped[dict[str, Any] | None]
    """The newest protocol.events.Snapshot."""
    events_offset: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of events.jsonl that are in the database."""
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
    queued_at: Mapped[float]
    """Place in line; kept over a pause for a preempted job, renewed when a person resumes."""
    back_at: Mapped[float | None]
    """When it came back into the line with its old place: time in which it ran is no waiting."""
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    updated_at: Mapped[float]

    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "workload", "state"),
        # All that the scheduler has to know of those that wait, so that it does not read their long rows.
        Index(
            "ix_jobs_queue",
            *("state", "priority", "queued_at", "id", "gpus", "gpu_memory_mb", "cpus", "memory_mb", "user"),
            *("not_before", "estimated_seconds", "back_at"),
        ),
    )


class Attempt(Table):
    """One try on one machine: whose it is, the fencing token, and what proves which process it is."""

    __tablename__ = "attempts"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int]
    executor: Mapped[str]
    machine: Mapped[str | None]
    gpus: Mapped[list[Any]]
    gpu_memory_mb: Mapped[int | None]
    cpus: Mapped[float | None]
    memory_mb: Mapped[int | None]
    gpu_baseline: Mapped[dict[str, Any] | None]
    """MB in use on each of its GPUs, by index, before it was launched."""
    process: Mapped[dict[str, Any] | None]
    """What tells its processes from all others: the content of process.json."""
    handle: Mapped[dict[str, Any] | None]
    """How the executor finds it again; null until it was launched."""
    lease_owner: Mapped[str | None]
    """The data folder that its run folder is in: engines elsewhere can't look after it."""
    lease_token: Mapped[str | None]
    """Of the leading engine that looks after it."""
    stop_sent: Mapped[str | None]
    """`save`, `discard` or `kill`, once the trainer was told to stop."""
    stop_reason: Mapped[str | None]
    """Why, when nobody asked for it: `stalled` or `timeout`."""
    signs: Mapped[dict[str, Any] | None]
    """What its events have shown so far: a domain.stalls.Signs."""
    watch: Mapped[dict[str, Any] | None]
    """What looking at it had come to a moment ago: a domain.stalls.Count."""
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    released_at: Mapped[float | None]
    """When what it held was seen to be free again."""
    exit_code: Mapped[int | None]
    exit_signal: Mapped[int | None]
    reason: Mapped[str | None]
    message: Mapped[str | None]

    __table_args__ = (UniqueConstraint("job_id", "number"), Index(None, "ended_at"), Index(None, "released_at"))


class Move(Table):
    """Every change of a job's state, with its cause."""

    __tablename__ = "moves"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int | None]
    at: Mapped[float]
    before: Mapped[str | None]
    after: Mapped[str]
    cause: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str | None]
    message: Mapped[str | None]


class FeedEvent(Table):
    """What open pages are told, in the order of `id`, which is every client's cursor."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[float]
    type: Mapped[str]
    data: Mapped[dict[str, Any]]

    __table_args__ = (Index(None, "job_id", "id"), {"sqlite_autoincrement": True})


class Metric(Table):
    """The values at one step, from the attempt that counts."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    split: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    at: Mapped[float]
    values: Mapped[dict[str, Any]]


class Checkpoint(Table):
    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    path: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]]
    best: Mapped[bool]
    files: Mapped[dict[str, Any]]
    """SHA-256 by file name."""
    created_at: Mapped[float]
    removed_at: Mapped[float | None]


class Artifact(Table):
    __tablename__ = "artifacts"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    path: Mapped[str]
    kind: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    hash_sha256: Mapped[str]
    created_at: Mapped[float]
    details: Mapped[dict[str, Any]] = mapped_column("metadata")

    __table_args__ = (UniqueConstraint("job_id", "path"),)


class DataSet(Table):
    """An uploaded file; equal content is kept once."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    path: Mapped[str]
    """Relative to the data folder."""
    format: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    hash_sha256: Mapped[str] = mapped_column(index=True)
    rows: Mapped[int | None]
    report: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class IdempotencyKey(Table):
    """The job that a submission with this key made."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]


class Quarantine(Table):
    """A GPU that nothing is started on, because its memory did not come back."""

    __tablename__ = "quarantines"

    machine: Mapped[str] = mapped_column(primary_key=True)
    gpu: Mapped[int] = mapped_column(primary_key=True)
    attempt_id: Mapped[str]
    """Whose end it did not come back from."""
    baseline_mb: Mapped[float | None]
    """In use before that attempt."""
    cause: Mapped[str]
    since: Mapped[float]


class Schedule(Table):
    """A job that is submitted at a time, or again and again by a cron line."""

    __tablename__ = "schedules"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    cron: Mapped[str | None]
    at: Mapped[float | None]
    """The one time, where there is no cron line."""
    timezone: Mapped[str]
    paused: Mapped[bool] = mapped_column(default=False, server_default=false())
    next_at: Mapped[float | None] = mapped_column(index=True)
    """Null when it is over or paused."""
    last_at: Mapped[float | None]
    last_job_id: Mapped[str | None]
    last_error: Mapped[str | None]
    history: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """What became of its last times, oldest first."""
    created_at: Mapped[float]

    __table_args__ = (UniqueConstraint("name"),)


class Cleanup(Table):
    """The one row about removing what is too old: when it was asked for, and what the last one did."""

    __tablename__ = "cleanups"

    name: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    removed: Mapped[int] = mapped_column(default=0, server_default="0")
    freed_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    failed: Mapped[str | None]
    """What could not be removed, and why."""


class Leader(Table):
    """Which engine moves the jobs of this database; the lease is on the database's clock."""

    __tablename__ = "leaders"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    token: Mapped[str]
    since: Mapped[float]
    expires_at: Mapped[float]
