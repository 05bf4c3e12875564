"""The quotas that hold for what is placed now."""

from collections.abc import Mapping

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
        self._spent: Mapping[tuple[By, str], str] = {}
        self._counted_at = float("-inf")

    async def now(self, session: Session) -> Quotas:
        """With what has been set since."""
        found = await book(session, self._context.limits)
        if found.limited(Quota.GPU_HOURS):
            await self._count(session, found)
        else:
            self._spent = {}
        return Quotas(found, self._spent)

    async def _count(self, session: Session, found: Book) -> None:
        at = self._context.monotonic()
        if at < self._counted_at + COUNTED_SECONDS:
            return
        self._counted_at = at
        now = self._context.clock()
        hours: dict[tuple[By, str, str], float] = {}
        for (tenant, user), seconds in (await limits.gpu_seconds(session, quotas.month_began(now), now)).items():
            hours["user", user, tenant] = seconds / 3600
            hours["tenant", tenant, tenant] = hours.get(("tenant", tenant, tenant), 0.0) + seconds / 3600
        self._spent = {
            (by, name): quotas.in_words(by, name, Quota.GPU_HOURS, used, limit)
            for (by, name, tenant), used in hours.items()
            if (limit := found.limit(by, name, tenant, Quota.GPU_HOURS)) is not None and used >= limit
        }
