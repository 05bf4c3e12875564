"""What lists are filtered and sorted by, rollups, curves in columns, and totals that the database keeps itself.

Rollups and curves of jobs that are there are made by the engine, when it has time. Whoever makes the table `jobs` anew
has to make its triggers anew, too.
"""

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
ROWS_AT_ONCE = 500
ACTIVE = ("starting", "running", "pausing", "cancelling")
FIGURES = {
    "training_seconds": "trained",
    "throughput": "measured",
    "gpu_utilization": "watched",
    "peak_gpu_memory_mb": "weighed",
}


def upgrade() -> None:
    extend_jobs()
    create_tables()
    index_lists()
    fill_in()
    keep_totals()


def extend_jobs() -> None:
    columns: dict[Any, tuple[str, ...]] = {
        sa.Text(): ("model", "experiment", "best_name"),
        sa.Integer(): ("best_step",),
        sa.Double(): ("best_value", "last_loss", "duration", "active_since", *FIGURES),
    }
    for type_, names in columns.items():
        for name in names:
            op.add_column("jobs", sa.Column(name, type_, nullable=True))
    op.add_column("jobs", sa.Column("tags", json, nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("search", sa.Text(), nullable=True))


def create_tables() -> None:
    of_job = ["job_id"], ["jobs.id"]
    op.create_table(
        "rollups",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("content", json, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_rollups"),
        sa.ForeignKeyConstraint(*of_job, name="fk_rollups_job_id", ondelete="CASCADE"),
    )
    op.create_table(
        "series",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("job_id", "split", "name")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("first_step", "last_step")),
        sa.Column("tally", json, nullable=False),
        sa.Column("stride", sa.Integer(), nullable=True),
        sa.Column("steps", sa.LargeBinary(), nullable=True),
        sa.Column("times", sa.LargeBinary(), nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "split", "name", "first_step", name="pk_series"),
        sa.ForeignKeyConstraint(*of_job, name="fk_series_job_id", ondelete="CASCADE"),
    )
    op.create_table(
        "job_totals",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("jobs", *FIGURES.values())),
        *(sa.Column(name, sa.Double(), nullable=False) for name in FIGURES),
        sa.PrimaryKeyConstraint("tenant", "state", name="pk_job_totals"),
    )


def index_lists() -> None:
    op.drop_index("ix_jobs_tenant_created_at_id", "jobs")
    rest = ("created_at", "id", "state", "user", "kind", "experiment", "search")
    for name, first in {
        "date": (), "loss": ("best_value",), "throughput": ("throughput",), "duration": ("duration",)
    }.items():  # fmt: skip
        shown = sa.text("removed_at IS NULL")
        columns = ["tenant", *first, *rest]
        op.create_index(f"ix_jobs_by_{name}", "jobs", columns, sqlite_where=shown, postgresql_where=shown)


def fill_in() -> None:
    """Of jobs that are there: what their spec tells, and how long they held a machine."""
    connection = op.get_bind()
    held_by = {job: (seconds, since) for job, seconds, since in held()}
    jobs = sa.table("jobs", *map(sa.column, ("id", "name", "model", "search", "duration", "active_since")))
    jobs.append_column(sa.Column("spec", json))
    known = connection.execute(sa.select(jobs.c.id, jobs.c.name, jobs.c.spec)).all()
    rows = [
        {
            "of": id_,
            "model": model_of(spec),
            "search": line(name, model_of(spec), id_),
            "duration": held_by.get(id_, (None, None))[0],
            "active_since": held_by.get(id_, (None, None))[1],
        }
        for id_, name, spec in known
    ]
    change = jobs.update().where(jobs.c.id == sa.bindparam("of"))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        connection.execute(change, rows[start : start + ROWS_AT_ONCE])


def held() -> Iterator[tuple[str, float | None, float | None]]:
    """Each job's seconds in which it held a machine, and since when it does so now."""
    moves = op.get_bind().execute(sa.text("SELECT job_id, at, after FROM moves ORDER BY job_id, id"))
    job, seconds, since = None, None, None
    for id_, at, after in moves:
        if id_ != job:
            if job is not None:
                yield job, seconds, since
            job, seconds, since = id_, None, None
        if after in ACTIVE and since is None:
            since = at
        elif after not in ACTIVE and since is not None:
            seconds, since = (seconds or 0.0) + max(0.0, at - since), None
    if job is not None:
        yield job, seconds, since


def model_of(spec: object) -> str | None:
    asked = spec.get("model") if isinstance(spec, dict) else None
    name = asked.get("name") if isinstance(asked, dict) else asked
    return name if isinstance(name, str) else None


def line(name: str, model: str | None, id_: str) -> str:
    """As domain.listing.line made it at the time."""
    plain = [re.sub(r"[\x00-\x1f]+", " ", part).casefold() for part in (name, model or "")]
    end = plain[1].encode()[-300:].decode(errors="ignore")
    return f"{plain[0]}\x01{end}\x02\x03{id_}"


def keep_totals() -> None:
    connection = op.get_bind()
    counted = ", ".join(f"count({name})" for name in FIGURES)
    summed = ", ".join(f"coalesce(sum({name}), 0)" for name in FIGURES)
    into = f"INSERT INTO job_totals (tenant, state, jobs, {', '.join(FIGURES.values())}, {', '.join(FIGURES)})"
    connection.exec_driver_sql(
        f"{into} SELECT tenant, state, count(*), {counted}, {summed} FROM jobs "  # nosec B608 - names of our own
        "WHERE removed_at IS NULL GROUP BY tenant, state"
    )
    for statement in triggers(connection.dialect.name, into):
        connection.exec_driver_sql(statement)


def triggers(dialect: str, into: str) -> Iterator[str]:
    came, went = (change(row, sign, into, dialect) for row, sign in (("NEW", "+"), ("OLD", "-")))
    watched = ", ".join(("tenant", "state", "removed_at", *FIGURES))
    whens = {"INSERT": came, f"UPDATE OF {watched}": went + came, "DELETE": went}
    for when, effect in whens.items():
        name = f"job_totals_{when.split()[0].lower()}"
        if dialect == "sqlite":
            yield f"CREATE TRIGGER {name} AFTER {when} ON jobs BEGIN {effect} END"
        else:
            yield (
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {effect} RETURN NULL; END $$"
            )
            yield f"CREATE TRIGGER {name} AFTER {when} ON jobs FOR EACH ROW EXECUTE FUNCTION {name}()"


def change(row: str, sign: str, into: str, dialect: str) -> str:
    """Add what a row comes to, or take it away."""
    cast = "" if dialect == "sqlite" else "::int"
    known = ", ".join(f"{sign}({row}.{name} IS NOT NULL){cast}" for name in FIGURES)
    values = ", ".join(f"{sign}coalesce({row}.{name}, 0)" for name in FIGURES)
    added = ", ".join(f"{name} = job_totals.{name} + excluded.{name}" for name in ("jobs", *FIGURES.values(), *FIGURES))
    return (
        f"{into} SELECT {row}.tenant, {row}.state, {sign}1, {known}, {values} WHERE {row}.removed_at IS NULL "  # nosec B608 - names of our own
        f"ON CONFLICT (tenant, state) DO UPDATE SET {added}; "
    )
