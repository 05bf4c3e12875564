"""Shares of machines, retries, preemption, schedules, leaders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    extend_jobs()
    extend_attempts()
    extend_moves()
    create_quarantines()
    create_schedules()
    create_cleanups()
    create_leaders()


def extend_jobs() -> None:
    op.add_column("jobs", sa.Column("user", sa.Text(), nullable=False, server_default="local"))
    for name, type_ in (
        ("gpu_memory_mb", sa.Integer()), ("cpus", sa.Double()), ("memory_mb", sa.Integer()),
        ("not_before", sa.Double()), ("yields_to", sa.Text()), ("parent_id", sa.Text()), ("schedule_id", sa.Text()),
        ("logs_removed_at", sa.Double()), ("removed_at", sa.Double()), ("expected_start", sa.Double()),
        ("data_sha256", json), ("workload", sa.Text()), ("work", sa.Double()), ("estimated_seconds", sa.Double()),
    ):  # fmt: skip
        op.add_column("jobs", sa.Column(name, type_, nullable=True))
    op.add_column("jobs", sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
    for name in ("resumable", "kept"):
        op.add_column("jobs", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    # What there was before were language models, which all go on from their checkpoints.
    op.execute(sa.text("UPDATE jobs SET resumable = :yes").bindparams(yes=True))
    op.drop_column("jobs", "queue_position")
    op.create_index(op.f("ix_jobs_workload_state"), "jobs", ["workload", "state"], unique=False)
    op.drop_index("ix_jobs_state_priority_queued_at", "jobs")
    op.create_index(
        "ix_jobs_queue",
        "jobs",
        [
            *("state", "priority", "queued_at", "id", "gpus", "gpu_memory_mb", "cpus", "memory_mb", "user"),
            *("not_before", "estimated_seconds"),
        ],
    )


def extend_attempts() -> None:
    for name, type_ in (
        ("machine", sa.Text()), ("gpu_memory_mb", sa.Integer()), ("cpus", sa.Double()), ("memory_mb", sa.Integer()),
        ("gpu_baseline", json), ("process", json), ("stop_reason", sa.Text()), ("released_at", sa.Double()),
    ):  # fmt: skip
        op.add_column("attempts", sa.Column(name, type_, nullable=True))
    op.execute("UPDATE attempts SET released_at = ended_at")
    # Whose an attempt is was a host name and is a data folder; the lease is the leader's, and has one clock.
    op.execute("UPDATE attempts SET lease_owner = NULL, lease_token = NULL")
    op.drop_column("attempts", "lease_expires_at")
    op.create_index(op.f("ix_attempts_released_at"), "attempts", ["released_at"], unique=False)


def extend_moves() -> None:
    for name in ("reason", "message"):
        op.add_column("moves", sa.Column(name, sa.Text(), nullable=True))


def create_quarantines() -> None:
    op.create_table(
        "quarantines",
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("gpu", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("baseline_mb", sa.Double(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("machine", "gpu", name=op.f("pk_quarantines")),
    )


def create_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", json, nullable=False),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("at", sa.Double(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("next_at", sa.Double(), nullable=True),
        sa.Column("last_at", sa.Double(), nullable=True),
        sa.Column("last_job_id", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("name", name=op.f("uq_schedules_name")),
    )
    op.create_index(op.f("ix_schedules_next_at"), "schedules", ["next_at"], unique=False)


def create_cleanups() -> None:
    op.create_table(
        "cleanups",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("removed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("freed_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("failed", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cleanups")),
    )


def create_leaders() -> None:
    op.create_table(
        "leaders",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leaders")),
    )
