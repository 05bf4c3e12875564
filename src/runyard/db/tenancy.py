"""The one place where a tenant's rows are told from others': a session that is for a tenant can't see any other's.

Each statement of such a session gets the condition by itself, whichever table it looks at, so that none can forget it.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, event, exists, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, aliased, with_loader_criteria

from runyard.db.tables import Job, OfJob, OfUser, Tenanted, User

TENANT = "tenant"
OWNER = aliased(Job)


class TenantSession(Session):
    """What async sessions work with; `info` says for which tenant, if for one."""


def session(engine: AsyncEngine, tenant: str | None) -> AsyncSession:
    """For one tenant, or for all of them."""
    info = {} if tenant is None else {TENANT: tenant}
    return AsyncSession(engine, sync_session_class=TenantSession, expire_on_commit=False, info=info)


@event.listens_for(TenantSession, "do_orm_execute")
def _narrow(execution: ORMExecuteState) -> None:
    tenant = execution.session.info.get(TENANT)
    if tenant is None or execution.is_insert:
        return
    if not execution.is_orm_statement and (execution.is_select or execution.is_update or execution.is_delete):
        raise LookupError("a statement on bare tables can't be kept to one tenant: name the mapped classes")
    if execution.is_orm_statement:
        execution.statement = execution.statement.options(*_conditions(tenant))


@lru_cache(maxsize=1024)
def _conditions(tenant: str) -> tuple[Any, ...]:
    # One for each way to belong to somebody; lambdas, whose parts are remembered, because a statement has to be
    # compared with those before it every time.
    return (
        with_loader_criteria(Tenanted, lambda table: table.tenant == tenant, include_aliases=True),
        with_loader_criteria(OfJob, lambda table: _is_of(table.job_id, tenant), include_aliases=True),
        with_loader_criteria(OfUser, lambda table: table.user.in_(_users(tenant)), include_aliases=True),
    )


def _is_of(job_id: Any, tenant: str) -> ColumnElement[bool]:
    """Asked of each row by the key of its job: SQLite would make a list of all the tenant's jobs for each statement."""
    return exists().where(OWNER.id == job_id, OWNER.tenant == tenant).correlate_except(OWNER)


def _users(tenant: str) -> Select[Any]:
    return select(User.name).where(User.tenant == tenant)
