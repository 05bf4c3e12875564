"""What has ended last is found by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

SHOWN = sa.text("removed_at IS NULL")


def upgrade() -> None:
    columns = ["tenant", "finished_at", "state"]
    op.create_index("ix_jobs_ended", "jobs", columns, sqlite_where=SHOWN, postgresql_where=SHOWN)
