"""Lists are narrowed to a priority from their indexes, as they are to everything else."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ORDERS = {"date": (), "loss": ("best_value",), "throughput": ("throughput",), "duration": ("duration",)}
FILTERED = ("created_at", "id", "state", "user", "kind", "experiment", "priority", "search")


def upgrade() -> None:
    shown = sa.text("removed_at IS NULL")
    for name, first in ORDERS.items():
        op.drop_index(f"ix_jobs_by_{name}", "jobs")
        columns = ["tenant", *first, *FILTERED]
        op.create_index(f"ix_jobs_by_{name}", "jobs", columns, sqlite_where=shown, postgresql_where=shown)
