"""People, what they may have, and what they did."""

from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, false, true
from sqlalchemy.orm import Mapped, mapped_column

from runyard.db.tables.base import OfUser, Serial, Table, Tenanted


class Tenant(Table):
    """People who share what they have, and see nothing of others."""

    __tablename__ = "tenants"

    name: Mapped[str] = mapped_column(primary_key=True)
    scripts: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether its jobs may be any program, which runs as this server's own user and so reads what the server can."""
    created_at: Mapped[float]


class User(Tenanted, Table):
    """An account. It is never deleted, so that nobody later gets its name and with it what was its."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"), index=True)
    role: Mapped[str]
    operator: Mapped[bool] = mapped_column(default=False, server_default=false())
    password: Mapped[str | None]
    """As argon2 writes it."""
    subject: Mapped[str | None] = mapped_column(unique=True)
    """Who this is for the outside issuer of tokens."""
    enabled: Mapped[bool] = mapped_column(default=True, server_default=true())
    created_at: Mapped[float]


class BrowserSession(OfUser, Table):
    """Somebody who signed in with a password; what the cookie holds is kept as a hash alone."""

    __tablename__ = "sessions"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)


class ApiKey(OfUser, Table):
    """What a program signs in with; kept as a hash alone."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    prefix: Mapped[str]
    """Its first characters, to recognise it by."""
    sha256: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class Access(Table):
    """The one row that counts up when somebody's rights have changed: what is remembered of them is asked anew."""

    __tablename__ = "access"

    name: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]


class AuditEntry(Tenanted, Table):
    """Who did what to what, when, from where. The database itself refuses to change or delete a row."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    at: Mapped[float]
    tenant: Mapped[str | None] = mapped_column()  # type: ignore[assignment] # a stranger's is nobody's
    user: Mapped[str | None]
    """Null where nobody was signed in; `details` has the name that was tried."""
    via: Mapped[str | None]
    credential: Mapped[str | None]
    """Which session or key it was."""
    address: Mapped[str | None]
    action: Mapped[str]
    target: Mapped[str | None]
    refused: Mapped[str | None]
    """Why nothing was done, as a word for programs."""
    details: Mapped[dict[str, Any]]

    __table_args__ = (Index(None, "tenant", "id"), {"sqlite_autoincrement": True})


class Limit(Tenanted, Table):
    """How much of something a tenant, each of its users, or one of them may have."""

    __tablename__ = "limits"

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"), primary_key=True)
    of: Mapped[str] = mapped_column(primary_key=True)
    """`tenant`, `each user`, or `user NAME`."""
    quota: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[float]


class Secret(Tenanted, Table):
    """A value that jobs name and nobody is shown."""

    __tablename__ = "secrets"

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary())
    user: Mapped[str]
    """Who set it last."""
    changed_at: Mapped[float]
