"""Accounts, tenants, keys, quotas, secrets, and the audit log; everything that is there belongs to the first tenant."""

import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

QUEUE = (
    *("state", "priority", "queued_at", "id", "gpus", "gpu_memory_mb", "cpus", "memory_mb"),
    *("tenant", "user", "not_before", "estimated_seconds", "back_at"),
)
REFUSE_CHANGES = {
    "sqlite": [
        f"CREATE TRIGGER audit_{change.lower()} BEFORE {change} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for change in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()",
    ],
}


def upgrade() -> None:
    create_people()
    create_audit()
    create_belongings()
    give_to_the_first_tenant()


def create_people() -> None:
    op.create_table(
        "tenants",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scripts", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tenants"),
    )
    op.create_table(
        "users",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("operator", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"], name="fk_users_tenant"),
        sa.UniqueConstraint("subject", name="uq_users_subject"),
    )
    op.create_index("ix_users_tenant", "users", ["tenant"])
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_sessions"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_sessions_user"),
    )
    op.create_index("ix_sessions_user", "sessions", ["user"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_api_keys_user"),
        sa.UniqueConstraint("sha256", name="uq_api_keys_sha256"),
    )
    op.create_index("ix_api_keys_user", "api_keys", ["user"])
    op.create_table(
        "access",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_access"),
    )


def create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", Serial, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=name not in ("action",))
            for name in ("tenant", "user", "via", "credential", "address", "action", "target", "refused")
        ),
        sa.Column("details", json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_tenant_id", "audit", ["tenant", "id"])
    for statement in REFUSE_CHANGES[op.get_bind().dialect.name]:
        op.execute(statement)


def create_belongings() -> None:
    op.create_table(
        "limits",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("of", sa.Text(), nullable=False),
        sa.Column("quota", sa.Text(), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "of", "quota", name="pk_limits"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"], name="fk_limits_tenant"),
    )
    op.create_table(
        "secrets",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_secrets"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"], name="fk_secrets_tenant"),
    )


def give_to_the_first_tenant() -> None:
    now = time.time()
    tenants = sa.table("tenants", sa.column("name"), sa.column("scripts"), sa.column("created_at"))
    names = ("name", "tenant", "role", "operator", "enabled", "created_at")
    users = sa.table("users", *(sa.column(name) for name in names))
    op.execute(tenants.insert().values(name="main", scripts=True, created_at=now))
    # Who asks where there are no accounts. It has nothing to sign in with.
    local = {"name": "local", "tenant": "main", "role": "admin", "operator": True, "enabled": True, "created_at": now}
    op.execute(users.insert().values(local))
    for table in ("jobs", "events", "datasets", "schedules"):
        op.add_column(table, sa.Column("tenant", sa.Text(), nullable=False, server_default="main"))
    for table in ("datasets", "schedules"):
        op.add_column(table, sa.Column("user", sa.Text(), nullable=False, server_default="local"))
    op.create_index("ix_events_tenant_id", "events", ["tenant", "id"])
    op.drop_index("ix_jobs_created_at_id", "jobs")
    op.create_index("ix_jobs_tenant_created_at_id", "jobs", ["tenant", "created_at", "id"])
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", list(QUEUE))
    with op.batch_alter_table("schedules") as schedules:
        schedules.drop_constraint("uq_schedules_name", type_="unique")
        schedules.create_unique_constraint("uq_schedules_tenant_name", ["tenant", "name"])
    op.add_column("idempotency_keys", sa.Column("user", sa.Text(), nullable=False, server_default="local"))
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.alter_column("user", server_default=None)
        keys.drop_constraint("pk_idempotency_keys", type_="primary")
        keys.create_primary_key("pk_idempotency_keys", ["user", "key"])
