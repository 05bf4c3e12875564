"""What a job tells seldom is found among what it tells at every step."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

IS_TURN = sa.text("type NOT IN ('metric', 'progress')")


def upgrade() -> None:
    op.create_index("ix_events_turns", "events", ["job_id", "id"], sqlite_where=IS_TURN, postgresql_where=IS_TURN)
