"""Since when a job waits that stood in line before; workloads by a fingerprint, which fits into an index."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

QUEUE = (
    *("state", "priority", "queued_at", "id", "gpus", "gpu_memory_mb", "cpus", "memory_mb", "user"),
    *("not_before", "estimated_seconds", "back_at"),
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("back_at", sa.Double(), nullable=True))
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", list(QUEUE))
    connection = op.get_bind()
    known = connection.execute(sa.text("SELECT DISTINCT workload FROM jobs WHERE workload IS NOT NULL")).scalars().all()
    for text in known:
        values = {"new": hashlib.sha256(text.encode()).hexdigest(), "old": text}
        connection.execute(sa.text("UPDATE jobs SET workload = :new WHERE workload = :old"), values)
