"""The quotas that hold for what is placed now."""

from collections.abc import Iterator, Mapping

from runyard.db.database import Session
from runyard.db.queries import limits
from runyard.domain import quotas
from runyard.domain.placement import Quotas
from runyard.domain.quotas import Book, By, Quota
from runyard.engine.context import Context
from runyard.services.quotas import book

COUNTED_SECONDS = 30.0
"""GPU-hours are counted over a month's attempts: not at every look at the line."""


class Allowances:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._hours: Mapping[tuple[By, str, str], float] = {}
        """GPU-hours of this month, of users and tenants: by which of the two, name, and tenant."""
        self._counted_at = float("-inf")

    async def now(self, session: Session) -> Quotas:
        """With what has been set since."""
        found = await book(session, self._context.limits)
        if not found.limited(Quota.GPU_HOURS):
            return Quotas(found, {})
        if self._context.monotonic() >= self._counted_at + COUNTED_SECONDS:
            await self._count(session)
        return Quotas(found, dict(self._spent(found)))

    def _spent(self, found: Book) -> Iterator[tuple[tuple[By, str], str]]:
        for (by, name, tenant), used in self._hours.items():
            limit = found.limit(by, name, tenant, Quota.GPU_HOURS)
            if limit is not None and used >= limit:
                yield (by, name), quotas.in_words(by, name, Quota.GPU_HOURS, used, limit)

    async def _count(self, session: Session) -> None:
        at, now = self._context.monotonic(), self._context.clock()
        hours: dict[tuple[By, str, str], float] = {}
        for (tenant, user), seconds in (await limits.gpu_seconds(session, quotas.month_began(now), now)).items():
            hours["user", user, tenant] = seconds / 3600
            hours["tenant", tenant, tenant] = hours.get(("tenant", tenant, tenant), 0.0) + seconds / 3600
        self._hours, self._counted_at = hours, at
