"""What has been seen of an attempt, for the server after this one; what became of a schedule's last times."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("attempts", sa.Column("signs", json, nullable=True))
    op.add_column("attempts", sa.Column("watch", json, nullable=True))
    op.add_column("schedules", sa.Column("history", json, nullable=False, server_default="[]"))
