"""Jobs, and what belongs to one."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from runyard.db.tables.base import OfJob, OfUser, Serial, Table, Tenanted, forgotten
from runyard.db.tables.facts import LISTS, SHOWN, Facts


class Job(Facts, Tenanted, Table):
    """What was asked, and how far it is."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    """As asked for."""
    resolved_spec: Mapped[dict[str, Any]]
    """With every default and absolute paths: what the run folder's spec.json holds."""
    user: Mapped[str] = mapped_column(insert_default=forgotten, server_default="local")
    """Whose it is, and whose quota it counts against."""
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
    expected_place: Mapped[dict[str, Any] | None]
    """Where it is expected to start, if it is known when: `machine` and the indices of its `gpus`."""
    not_before: Mapped[float | None]
    """Waits until then, whatever room there is."""
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    """Tries in a row that failed without anybody asking for another."""
    yields_to: Mapped[str | None]
    """The urgent job that it is being paused for."""
    resumes: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Its pause was taken back while it was being paused."""
    parent_id: Mapped[str | None]
    """The job from whose checkpoint it went on, or whose copy with a change it is."""
    schedule_id: Mapped[str | None]
    template: Mapped[dict[str, Any] | None]
    """The `id`, `name` and `version` of what it was made from; the id tells it from a later one of the same name."""
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

    @property
    def returns(self) -> bool:
        """It is being paused, and goes on by itself at its old place."""
        return self.resumes or self.yields_to is not None

    __table_args__ = (
        *LISTS,
        Index(None, "workload", "state", "throughput"),
        Index("ix_jobs_ended", "tenant", "finished_at", "state", sqlite_where=SHOWN, postgresql_where=SHOWN),
        # All that the scheduler has to know of those that wait, so that it does not read their long rows.
        Index(
            "ix_jobs_queue",
            *("state", "priority", "queued_at", "id", "gpus", "gpu_memory_mb", "cpus", "memory_mb"),
            *("tenant", "user", "not_before", "estimated_seconds", "back_at"),
        ),
    )


class Attempt(OfJob, Table):
    """One try on one machine: whose it is, the fencing token, and what proves which process it is."""

    __tablename__ = "attempts"

    id: Mapped[str] = mapped_column(primary_key=True)
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


class Move(OfJob, Table):
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


IS_TURN = text("type NOT IN ('metric', 'progress')")
"""All but what comes with every step. A query has to say so, word for word, to be answered from their index."""


class FeedEvent(Tenanted, Table):
    """What open pages are told, in the order of `id`, which is every client's cursor."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[float]
    type: Mapped[str]
    data: Mapped[dict[str, Any]]

    __table_args__ = (
        Index(None, "job_id", "id"),
        Index(None, "tenant", "id"),
        Index("ix_events_turns", "job_id", "id", sqlite_where=IS_TURN, postgresql_where=IS_TURN),
        {"sqlite_autoincrement": True},
    )


class Metric(OfJob, Table):
    """The values at one step, from the attempt that counts."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    split: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    at: Mapped[float]
    values: Mapped[dict[str, Any]]


class Checkpoint(OfJob, Table):
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


class Artifact(OfJob, Table):
    __tablename__ = "artifacts"

    id: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    kind: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    hash_sha256: Mapped[str]
    created_at: Mapped[float]
    details: Mapped[dict[str, Any]] = mapped_column("metadata")

    __table_args__ = (UniqueConstraint("job_id", "path"),)


class IdempotencyKey(OfUser, Table):
    """The job that a user's submission with this key made."""

    __tablename__ = "idempotency_keys"

    user: Mapped[str] = mapped_column()
    key: Mapped[str]
    body_sha256: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]

    __table_args__ = (PrimaryKeyConstraint("user", "key"),)
