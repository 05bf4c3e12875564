"""Who is told of what happens to jobs, and what has become of that."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from runyard.db.tables.base import Table, Tenanted


class Channel(Tenanted, Table):
    """Where somebody wants to be told, and of what."""

    __tablename__ = "channels"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    user: Mapped[str]
    """Who made it."""
    of: Mapped[str]
    """`user`: tells of that user's jobs; `tenant`: of all."""
    kind: Mapped[str]
    """`apprise` or `webhook`."""
    states: Mapped[list[Any]]
    """Of what it tells; nothing but what jobs name it for, where it is empty."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary())
    """Where to, and with what to sign: a services.channels.Target."""
    shown: Mapped[str]
    """Where to, as far as it may be shown."""
    enabled: Mapped[bool] = mapped_column(default=True, server_default=true())
    disabled_because: Mapped[str | None]
    after_event: Mapped[int] = mapped_column(BigInteger)
    """It tells of nothing that was in the feed before."""
    created_at: Mapped[float]
    changed_at: Mapped[float]

    __table_args__ = (UniqueConstraint("tenant", "name"),)


class Delivery(Tenanted, Table):
    """One message for one channel. It is there before it is sent, and has the same id however often that is tried."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"))
    event_id: Mapped[int | None] = mapped_column(BigInteger)
    """What of the feed it tells of; null for a test."""
    job_id: Mapped[str | None]
    type: Mapped[str]
    """Such as `job.failed`."""
    body: Mapped[dict[str, Any]]
    status: Mapped[str]
    """`pending`, `delivered` or `failed`."""
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    next_at: Mapped[float | None] = mapped_column(index=True)
    """Null when it is not to be tried any more."""
    response_code: Mapped[int | None]
    last_error: Mapped[str | None]
    created_at: Mapped[float]
    tried_at: Mapped[float | None]
    delivered_at: Mapped[float | None]

    __table_args__ = (
        UniqueConstraint("channel_id", "event_id"),
        Index(None, "channel_id", "created_at", "id"),
        Index(None, "created_at"),
    )


class Cursor(Table):
    """How far somebody who follows the feed has come."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
