"""A pause may be taken back before the trainer has stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("resumes", sa.Boolean(), nullable=False, server_default=sa.false()))
