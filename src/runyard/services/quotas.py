"""Quotas: what is set, what is used of it, and the refusal once it is used up."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from runyard.db.database import Session
from runyard.db.queries import limits, users
from runyard.db.tables import Limit
from runyard.domain import quotas
from runyard.domain.access import Act, Caller, Owner
from runyard.domain.errors import NotFoundError, OverQuotaError, QueueFullError
from runyard.domain.quotas import EACH_USER, TENANT, Book, By, Quota
from runyard.services import tenants
from runyard.services.context import Context

HINT = "wait until something has ended, remove what is no longer needed, or ask an admin for more (`runyard quotas`)"
FULL_HINT = "wait for one to start, cancel one, or have it raised (`runyard quotas`, or RUNYARD_MAX_WAITING)"


@dataclass(frozen=True)
class Used:
    """`limit` is None where there is none."""

    of: str
    quota: Quota
    used: float
    limit: float | None


async def book(session: Session, context: Context) -> Book:
    return quotas.book(await limits.all_(session), context.each_user)


@dataclass
class Line:
    """How many jobs wait of those who submit, while more are taken."""

    book: Book
    users: dict[str, int]
    tenants: dict[str, int]

    def require_place(self, owner: Owner) -> None:
        """Raises QueueFullError."""
        for by, name in _whose(owner):
            waiting = (self.users if by == "user" else self.tenants).get(name, 0)
            limit = self.book.limit(by, owner.user, owner.tenant, Quota.WAITING)
            if limit is not None and waiting + 1 > limit:
                raise QueueFullError(quotas.in_words(by, name, Quota.WAITING, waiting, limit), hint=FULL_HINT)

    def add(self, owner: Owner) -> None:
        self.users[owner.user] = self.users.get(owner.user, 0) + 1
        self.tenants[owner.tenant] = self.tenants.get(owner.tenant, 0) + 1


async def line(session: Session, owners: Collection[Owner], context: Context) -> Line:
    found = await book(session, context)
    names = {owner.user for owner in owners}
    limited = {owner.tenant for owner in owners if found.limit("tenant", "", owner.tenant, Quota.WAITING) is not None}
    return Line(
        found,
        await limits.waiting(session, "user", names),
        await limits.waiting(session, "tenant", limited) if limited else {},
    )


async def require_left(session: Session, owner: Owner, found: Book, now: float, *, gpus: bool, extra: int = 0) -> None:
    """Raise OverQuotaError when GPU-hours, where `gpus` are wanted, or bytes, `extra` ones included, are used up."""
    for by, name in _whose(owner):
        hours = found.limit(by, owner.user, owner.tenant, Quota.GPU_HOURS) if gpus else None
        if hours is not None and (used := await _gpu_hours(session, by, name, now)) >= hours:
            raise OverQuotaError(quotas.in_words(by, name, Quota.GPU_HOURS, used, hours), hint=HINT)
        stored = found.limit(by, owner.user, owner.tenant, Quota.STORED_BYTES)
        if stored is not None and (held := await limits.stored_bytes(session, by, name)) + extra > stored:
            raise OverQuotaError(quotas.in_words(by, name, Quota.STORED_BYTES, held, stored), hint=HINT)


async def used(session: Session, tenant: str, user: str | None, context: Context, now: float) -> list[Used]:
    """Of a user, or of the tenant as a whole. Raises NotFoundError."""
    if user is not None and await users.get(session, user) is None:
        raise NotFoundError(f"there is no user {user[:100]!r}", hint="`runyard users list` shows who there is")
    found = await book(session, context)
    by: By = "tenant" if user is None else "user"
    name = tenant if user is None else user
    return _used(
        found,
        (by, name, tenant),
        waiting=(await limits.waiting(session, by, [name])).get(name, 0),
        held=await limits.held(session, by, name),
        gpu_hours=await _gpu_hours(session, by, name, now),
        stored=await limits.stored_bytes(session, by, name),
    )


async def used_by_each(
    session: Session, tenant: str, names: Collection[str], context: Context, now: float
) -> dict[str, list[Used]]:
    """What `used` gives for each of the tenant's users, by name, asked for together."""
    found = await book(session, context)
    waiting = await limits.waiting(session, "user", names)
    held = await limits.held_by_user(session, tenant)
    seconds = await limits.gpu_seconds(session, quotas.month_began(now), now, tenant)
    stored = await limits.stored_by_user(session, tenant)

    return {
        name: _used(
            found,
            ("user", name, tenant),
            waiting=waiting.get(name, 0),
            held=held.get(name, ()),
            gpu_hours=seconds.get((tenant, name), 0.0) / 3600,
            stored=stored.get(name, 0),
        )
        for name in names
    }


async def change(session: Session, caller: Caller, of: str, amounts: Mapping[Quota, float | None], tenant: str) -> None:
    """Set what a tenant, each of its users, or one user may have; None takes a limit away.

    What a tenant may have is the operator's to say. Raises ForbiddenError and NotFoundError.
    """
    caller.require(Act.OPERATE if of == TENANT or tenant != caller.tenant else Act.MANAGE)
    await tenants.get(session, tenant)
    if of not in (TENANT, EACH_USER):
        user = await users.get(session, of.removeprefix("user ")) if of.startswith("user ") else None
        if user is None or user.tenant != tenant:
            raise NotFoundError(f"there is no user {of[:100]!r} in {tenant!r}", hint="`runyard users list`")
    for quota, amount in amounts.items():
        if amount is None:
            await limits.remove(session, tenant, of, quota.value)
        else:
            await limits.put(session, Limit(tenant=tenant, of=of, quota=quota.value, amount=amount))


def _used(
    found: Book, whose: tuple[By, str, str], *, waiting: int, held: Sequence[int], gpu_hours: float, stored: int
) -> list[Used]:
    """`whose` is by what, its name, and its tenant; `held` has the number of GPUs of each attempt that holds any."""
    by, name, tenant = whose
    amounts: dict[Quota, float] = {
        Quota.WAITING: waiting,
        Quota.RUNNING: len(held),
        Quota.GPUS: sum(held),
        Quota.GPU_HOURS: gpu_hours,
        Quota.STORED_BYTES: stored,
        Quota.MONEY: 0.0,  # nothing is rented yet
    }
    of = TENANT if by == "tenant" else quotas.of_user(name)
    return [Used(of, quota, amount, found.limit(by, name, tenant, quota)) for quota, amount in amounts.items()]


def _whose(owner: Owner) -> tuple[tuple[By, str], ...]:
    return ("user", owner.user), ("tenant", owner.tenant)


async def _gpu_hours(session: Session, by: By, name: str, now: float) -> float:
    whose = {by: name}
    found = await limits.gpu_seconds(session, quotas.month_began(now), now, whose.get("tenant"), whose.get("user"))
    return sum(found.values()) / 3600
