"""Data sets, schedules, and what the engine keeps in mind."""

from typing import Any

from sqlalchemy import BigInteger, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from runyard.db.tables.base import Table, Tenanted, forgotten


class DataSet(Tenanted, Table):
    """An uploaded file; equal content is kept once in a tenant."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(insert_default=forgotten, server_default="local")
    """Who uploaded it."""
    name: Mapped[str]
    path: Mapped[str]
    """Relative to the data folder."""
    format: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    hash_sha256: Mapped[str] = mapped_column(index=True)
    rows: Mapped[int | None]
    report: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class Schedule(Tenanted, Table):
    """A job that is submitted at a time, or again and again by a cron line."""

    __tablename__ = "schedules"

    id: Mapped[str] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(insert_default=forgotten, server_default="local")
    """For whom it submits."""
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    cron: Mapped[str | None]
    at: Mapped[float | None]
    """The one time, where there is no cron line."""
    timezone: Mapped[str]
    paused: Mapped[bool] = mapped_column(default=False, server_default=false())
    next_at: Mapped[float | None] = mapped_column(index=True)
    """Null when it is over or paused."""
    last_at: Mapped[float | None]
    last_job_id: Mapped[str | None]
    last_error: Mapped[str | None]
    history: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """What became of its last times, oldest first."""
    created_at: Mapped[float]

    __table_args__ = (UniqueConstraint("tenant", "name"),)


class Template(Tenanted, Table):
    """One version of a job with places to fill in; it is never changed, only followed by the next."""

    __tablename__ = "templates"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    """Counted from 1."""
    user: Mapped[str]
    """Whose all versions of this name are."""
    saved_by: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str | None]
    spec: Mapped[dict[str, Any]]
    """As asked for, with `${NAME}` where a value is to be filled in."""
    variables: Mapped[list[Any]]
    """Those in the spec, in their order: what a domain.templates.Variable holds."""
    job_id: Mapped[str | None]
    """The job that it was saved from."""
    created_at: Mapped[float]

    __table_args__ = (UniqueConstraint("tenant", "name", "version"),)


class Quarantine(Table):
    """A GPU that nothing is started on, because its memory did not come back."""

    __tablename__ = "quarantines"

    machine: Mapped[str] = mapped_column(primary_key=True)
    gpu: Mapped[int] = mapped_column(primary_key=True)
    attempt_id: Mapped[str]
    """Whose end it did not come back from."""
    baseline_mb: Mapped[float | None]
    """In use before that attempt."""
    cause: Mapped[str]
    since: Mapped[float]


class Cleanup(Table):
    """The one row about removing what is too old: when it was asked for, and what the last one did."""

    __tablename__ = "cleanups"

    name: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    removed: Mapped[int] = mapped_column(default=0, server_default="0")
    freed_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    failed: Mapped[str | None]
    """What could not be removed, and why."""


class Leader(Table):
    """Which engine moves the jobs of this database; the lease is on the database's clock."""

    __tablename__ = "leaders"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    token: Mapped[str]
    since: Mapped[float]
    expires_at: Mapped[float]
