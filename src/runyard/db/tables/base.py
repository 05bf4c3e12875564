"""What all tables share, and to whom their rows belong."""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Integer, MetaData, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON().with_variant(postgresql.JSONB(), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers by itself only in an INTEGER column


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Json, list[Any]: Json, str: Text()}  # noqa: RUF012 - declared so by SQLAlchemy


def forgotten() -> str:
    raise LookupError("a row of a tenant has to say whose it is")


class Tenanted:
    """Rows that belong to a tenant: a session for one tenant sees no others."""

    tenant: Mapped[str] = mapped_column(insert_default=forgotten, server_default="main")
    """Its server default is for what was there before there were tenants."""


class OfJob:
    """Rows that belong to a job, and so to whom the job belongs to."""

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))


class OfUser:
    """Rows that belong to a user."""

    user: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
