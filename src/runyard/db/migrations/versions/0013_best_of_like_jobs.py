"""The best throughput of like jobs is found by an index."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_jobs_workload_state", "jobs")
    op.create_index("ix_jobs_workload_state_throughput", "jobs", ["workload", "state", "throughput"])
