"""How much a tenant and each of its users may have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal


class Quota(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    GPUS = "gpus"
    GPU_HOURS = "gpu_hours"
    """In a calendar month, UTC."""
    STORED_BYTES = "stored_bytes"
    MONEY = "money"
    """For rented machines, in a calendar month, UTC."""


NOUNS = {
    Quota.WAITING: "waiting jobs",
    Quota.RUNNING: "running jobs",
    Quota.GPUS: "GPUs at once",
    Quota.GPU_HOURS: "GPU-hours this month",
    Quota.STORED_BYTES: "stored bytes",
    Quota.MONEY: "spent this month",
}
TENANT, EACH_USER = "tenant", "each user"

By = Literal["user", "tenant"]


def of_user(name: str) -> str:
    """For whom a limit is that holds for one user alone."""
    return f"user {name}"


@dataclass(frozen=True)
class Book:
    """All limits: by tenant, for whom in it, and quota; `each_user` holds where nothing else was set."""

    set_: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    each_user: Mapping[Quota, float] = field(default_factory=dict)

    def limit(self, by: By, user: str, tenant: str, quota: Quota) -> float | None:
        """None is without limit."""
        if by == "tenant":
            return self.set_.get((tenant, TENANT, quota))
        own = self.set_.get((tenant, of_user(user), quota))
        if own is None:
            own = self.set_.get((tenant, EACH_USER, quota))
        return self.each_user.get(quota) if own is None else own

    def limited(self, quota: Quota) -> bool:
        """Is there anybody at all for whom it is limited?"""
        return quota in self.each_user or any(name == quota for _, _, name in self.set_)


def in_words(by: By, name: str, quota: Quota, used: float, limit: float) -> str:
    """Such as `anna has 10 waiting jobs, and may have 10 (quota waiting)`."""
    who = name if by == "user" else f"the tenant {name}"
    return (
        f"{who} has {_amount(quota, used)} {NOUNS[quota]}, and may have {_amount(quota, limit)} (quota {quota.value})"
    )


def month_began(now: float) -> float:
    """Seconds since the epoch."""
    at = datetime.fromtimestamp(now, UTC)
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def book(rows: Iterable[tuple[str, str, str, float]], each_user: Mapping[Quota, float | None]) -> Book:
    """From (tenant, of whom, quota, amount)."""
    found = {(tenant, of, quota): amount for tenant, of, quota, amount in rows}
    return Book(found, {quota: amount for quota, amount in each_user.items() if amount is not None})


def _amount(quota: Quota, amount: float) -> str:
    if quota == Quota.STORED_BYTES and amount >= 1e6:
        return f"{amount / 1e9:.2f} GB of" if amount >= 1e9 else f"{amount / 1e6:.1f} MB of"
    return f"{amount:.2f}".rstrip("0").rstrip(".")
