"""Tenants: made and changed by operators."""

import re
from collections.abc import Sequence

from runyard.db.database import Session
from runyard.db.queries import access
from runyard.db.queries import tenants as queries
from runyard.db.tables import Tenant
from runyard.domain.errors import InUseError, InvalidError, NotFoundError
from runyard.protocol.problems import Problem

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


async def get(session: Session, name: str) -> Tenant:
    """Raises NotFoundError."""
    if tenant := await queries.get(session, name):
        return tenant
    raise NotFoundError(f"there is no tenant {name[:100]!r}", hint="`runyard tenants list` shows which there are")


async def list_(session: Session) -> Sequence[Tenant]:
    return await queries.all_(session)


async def create(session: Session, name: str, *, scripts: bool, at: float) -> Tenant:
    """Raises InvalidError, and InUseError when there is one of this name."""
    if not NAME.fullmatch(name):
        message = "must be small letters, digits and -, 63 at most"
        raise InvalidError("the tenant can't be made", problems=[Problem(field="name", message=message)])
    if await queries.get(session, name):
        raise InUseError(f"there is a tenant {name!r}", hint="choose another name")
    tenant = Tenant(name=name, scripts=scripts, created_at=at)
    await queries.add(session, tenant)
    return tenant


async def change(session: Session, name: str, *, scripts: bool | None) -> Tenant:
    """Raises NotFoundError."""
    tenant = await get(session, name)
    tenant.scripts = tenant.scripts if scripts is None else scripts
    await access.changed(session)
    return tenant
